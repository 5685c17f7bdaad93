package monitor

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
)

// escaped makes text of any bytes that a terminal shows as it stands: control characters, bytes that are no UTF-8 and characters
// that change the direction or are invisible become escapes. Whoever may publish must not be able to write to the reader's
// terminal. At most limit columns are written, an ellipsis at the end included.
func escaped(b []byte, limit int) string {
	var out strings.Builder
	width := 0
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		piece, w := "", 1
		switch {
		case r == utf8.RuneError && size == 1:
			piece = fmt.Sprintf(`\x%02x`, b[0])
		case r == '\n':
			piece = `\n`
		case r == '\r':
			piece = `\r`
		case r == '\t':
			piece = `\t`
		case r == '\\':
			piece = `\\`
		case r < 0x20 || r == 0x7f:
			piece = fmt.Sprintf(`\x%02x`, r)
		case r < 0x7f:
			piece = string(rune(b[0]))
		case !unicode.IsPrint(r) || unicode.Is(unicode.M, r):
			// Marks that sit on the character before have no width of their own, and many of them grow beyond the line.
			piece = fmt.Sprintf(`\u%04x`, r)
		default:
			piece = string(r)
			w = lipgloss.Width(piece)
		}
		if len(piece) > 1 && piece[0] == '\\' {
			w = len(piece)
		}
		if width+w > limit-1 && (width+w > limit || len(b) > size) {
			out.WriteString("…")
			return out.String()
		}
		out.WriteString(piece)
		width += w
		b = b[size:]
	}
	return out.String()
}

// column pads or cuts text that is escaped already to exactly width columns.
func column(s string, width int) string {
	if width <= 0 {
		return ""
	}
	w := lipgloss.Width(s)
	if w <= width {
		return s + strings.Repeat(" ", width-w)
	}
	var out strings.Builder
	used := 0
	for _, r := range s {
		rw := 1
		if r > 0x7e {
			rw = lipgloss.Width(string(r))
		}
		if used+rw > width-1 {
			break
		}
		out.WriteRune(r)
		used += rw
	}
	out.WriteString("…")
	used++
	return out.String() + strings.Repeat(" ", max(width-used, 0))
}

var bars = []rune("▁▂▃▄▅▆▇█")

// sparkline draws numbers between their least and greatest.
func sparkline(v []float32) string {
	if len(v) < 2 {
		return ""
	}
	low, high := v[0], v[0]
	for _, x := range v {
		low, high = min(low, x), max(high, x)
	}
	var out strings.Builder
	for _, x := range v {
		i := len(bars) / 2
		if high > low {
			i = int((x - low) / (high - low) * float32(len(bars)-1))
		}
		out.WriteRune(bars[min(max(i, 0), len(bars)-1)])
	}
	return out.String()
}
