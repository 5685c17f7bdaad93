package monitor

import (
	"context"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"
)

// program ties the screen to the terminal. Its methods run on bubbletea's goroutine.
type program struct {
	o      *options
	source *source
	screen *screen
	frames frames
	seen   string // what was drawn last
	dirty  bool
}

// frames measures what drawing costs.
type frames struct {
	count     int
	spent     time.Duration
	worst     time.Duration
	view      time.Duration
	viewWorst time.Duration
	began     time.Time
}

type frameMsg time.Time

type doneMsg struct {
	note string
	err  error
}

func (p *program) tick() tea.Cmd {
	return tea.Tick(p.o.delay, func(t time.Time) tea.Msg { return frameMsg(t) })
}

// Init starts the frames.
func (p *program) Init() tea.Cmd {
	p.frames.began = time.Now()
	return p.tick()
}

// Update handles keys, and brings the messages in once for each frame.
func (p *program) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	now := time.Now()
	switch m := msg.(type) {
	case frameMsg:
		list, up, status, full := p.source.get()
		p.screen.take(list, now)
		p.screen.connected, p.screen.status = up, status
		if full > 0 {
			p.screen.status += fmt.Sprintf(" (%d messages dropped)", full)
		}
		p.frames.count++
		p.dirty = true
		spent := time.Since(now)
		p.frames.spent += spent
		p.frames.worst = max(p.frames.worst, spent)
		return p, p.tick()
	case tea.WindowSizeMsg:
		p.screen.width, p.screen.height = m.Width, m.Height
	case tea.KeyPressMsg:
		return p, p.act(p.screen.key(m.String(), m.Text, now))
	case tea.PasteMsg:
		if p.screen.mode != browsing {
			p.screen.key("paste", m.Content, now)
		}
	case doneMsg:
		if m.err != nil {
			p.screen.say(text(m.err), now)
		} else {
			p.screen.say(m.note, now)
		}
	}
	p.dirty = true
	return p, nil
}

// act does what a key asked for.
func (p *program) act(a action) tea.Cmd {
	p.dirty = true
	switch a.kind {
	case quit:
		return tea.Quit
	case publish:
		return func() tea.Msg { return doneMsg{a.note, p.source.publish(a.topic, a.text, a.retain, p.o)} }
	case copyText:
		p.screen.say(a.note, time.Now())
		return tea.SetClipboard(string(a.text))
	default:
		return nil
	}
}

// View draws. Between frames nothing changes, and the last drawing is given again.
func (p *program) View() tea.View {
	if p.dirty {
		begin := time.Now()
		p.seen, p.dirty = p.screen.view(begin), false
		spent := time.Since(begin)
		p.frames.view += spent
		p.frames.viewWorst = max(p.frames.viewWorst, spent)
	}
	v := tea.NewView(p.seen)
	v.AltScreen = true
	return v
}

// show runs the screen until the user leaves it.
func show(ctx context.Context, o *options, s *source, in io.Reader, out io.Writer) (*program, error) {
	p := &program{o: o, source: s, screen: newScreen(newBoard())}
	p.screen.tree, p.screen.all = !o.list, o.all
	t := tea.NewProgram(p, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithFPS(30))
	_, err := t.Run()
	if ctx.Err() != nil {
		err = nil // a signal ended it
	}
	return p, err
}

// report says what the frames cost.
func (p *program) report(w io.Writer, cpu time.Duration) {
	f := &p.frames
	if f.count == 0 {
		return
	}
	n := time.Duration(f.count)
	wall := time.Since(f.began)
	fmt.Fprintf(w, "frames %d in %.1f s; messages %d on %d topics; taking them in %v a frame (at most %v), drawing %v (at most %v); CPU %.1f %% of a core\n",
		f.count, wall.Seconds(), p.screen.board.messages, len(p.screen.board.topics),
		(f.spent / n).Round(time.Microsecond), f.worst.Round(time.Microsecond),
		(f.view / n).Round(time.Microsecond), f.viewWorst.Round(time.Microsecond), 100*cpu.Seconds()/wall.Seconds())
}
