package pubsub

import (
	"strings"
	"time"
)

// specJSON is --json: as %J, but a payload that is no JSON is a string and no error. It is no letter, so nobody can type it.
const specJSON = 1

// piece is one part of a format: text as it is, a conversion of the message or one of the time.
type piece struct {
	text  string
	spec  byte // of %X; 0: none
	clock byte // of @X; 0: none

	left, zero  bool
	width, prec int // -1: none
	sep         string
}

// specs are the letters behind %; those of them that take a separator come with one.
const (
	specs      = "%ACDEFIjJlmPpqRrStUxXfd"
	separators = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~ "
)

var escapes = map[byte]string{'\\': "\\", '0': "\x00", 'a': "\a", 'e': "\x1b", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v"}

// setFormat reads -F.
func setFormat(o *options, v string) error {
	pieces, err := parseFormat(v)
	if err != nil {
		return err
	}
	o.format = pieces
	return nil
}

// parseFormat judges a format and takes it apart.
func parseFormat(v string) ([]piece, error) {
	pieces := []piece{}
	text := ""
	for i := 0; i < len(v); i++ {
		var p piece
		var err error
		switch v[i] {
		case '\\':
			if i++; i == len(v) {
				return nil, usagef("Incomplete escape specifier.")
			}
			e, ok := escapes[v[i]]
			if !ok {
				return nil, usagef("Invalid escape specifier '%c'.", v[i])
			}
			text += e
			continue
		case '@':
			if i++; i == len(v) {
				return nil, usagef("Incomplete format specifier.")
			}
			if v[i] == '@' {
				text += "@"
				continue
			}
			p.clock = v[i]
		case '%':
			if p, i, err = parseSpec(v, i+1); err != nil {
				return nil, err
			}
			if p.spec == '%' {
				text += "%"
				continue
			}
		default:
			text += v[i : i+1]
			continue
		}
		if text != "" {
			pieces = append(pieces, piece{text: text})
			text = ""
		}
		pieces = append(pieces, p)
	}
	if text != "" {
		pieces = append(pieces, piece{text: text})
	}
	return pieces, nil
}

// maxWidth bounds width and precision: a format must not ask for gigabytes of blanks.
const maxWidth = 10000

// parseSpec reads what stands behind a percent sign; end is the place of its letter.
func parseSpec(v string, i int) (p piece, end int, err error) {
	p.width, p.prec = -1, -1
	for i < len(v) && (v[i] == '-' || v[i] == '0') {
		p.left, p.zero = p.left || v[i] == '-', p.zero || v[i] == '0'
		i++
	}
	p.width, i = digits(v, i)
	if i < len(v) && v[i] == '.' && !separates(v, i) {
		p.prec, i = digits(v, i+1)
		if p.prec < 0 {
			p.prec = 0
		}
	}
	if separates(v, i) {
		p.sep = v[i : i+1]
		i++
	}
	switch {
	case i >= len(v):
		return p, i, usagef("Incomplete format specifier.")
	case strings.IndexByte(specs, v[i]) < 0:
		return p, i, usagef("Invalid format specifier '%c'.", v[i])
	case p.width > maxWidth || p.prec > maxWidth:
		return p, i, usagef("Invalid format specifier '%c': width or precision above %d.", v[i], maxWidth)
	}
	p.spec = v[i]
	return p, i, nil
}

// separates reports whether a separator of %x stands at i.
func separates(v string, i int) bool {
	return i+1 < len(v) && (v[i+1] == 'x' || v[i+1] == 'X') && strings.IndexByte(separators, v[i]) >= 0
}

func digits(v string, i int) (n, end int) {
	start := i
	for i < len(v) && v[i] >= '0' && v[i] <= '9' {
		n = min(n*10+int(v[i]-'0'), maxWidth+1)
		i++
	}
	if i == start {
		return -1, i
	}
	return n, i
}

// strftime writes one conversion of C's strftime in the C locale; a letter that has none is written as it stands, with its percent
// sign.
func strftime(b []byte, letter byte, t time.Time) []byte {
	if layout, ok := layouts[letter]; ok {
		return t.AppendFormat(b, layout)
	}
	switch letter {
	case 'N':
		return appendNumber(b, t.Nanosecond(), 9, '0')
	case 'C':
		return appendNumber(b, t.Year()/100, 2, '0')
	case 'g', 'G', 'V':
		return appendISOWeek(b, letter, t)
	case 'j':
		return appendNumber(b, t.YearDay(), 3, '0')
	case 'k':
		return appendNumber(b, t.Hour(), 2, ' ')
	case 'l':
		return appendNumber(b, (t.Hour()+11)%12+1, 2, ' ')
	case 'n':
		return append(b, '\n')
	case 't':
		return append(b, '\t')
	case 'P':
		return append(b, strings.ToLower(t.Format("PM"))...)
	case 's':
		return appendNumber(b, int(t.Unix()), 1, '0')
	case 'u':
		return appendNumber(b, (int(t.Weekday())+6)%7+1, 1, '0')
	case 'w':
		return appendNumber(b, int(t.Weekday()), 1, '0')
	case 'U':
		return appendNumber(b, (t.YearDay()+6-int(t.Weekday()))/7, 2, '0')
	case 'W':
		return appendNumber(b, (t.YearDay()+6-(int(t.Weekday())+6)%7)/7, 2, '0')
	}
	return append(b, '%', letter)
}

// layouts are the conversions that package time can write. %x and %X are those of the C locale.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'c': "Mon Jan _2 15:04:05 2006", 'd': "02", 'D': "01/02/06",
	'e': "_2", 'F': "2006-01-02", 'H': "15", 'I': "03", 'm': "01", 'M': "04", 'p': "PM", 'r': "03:04:05 PM", 'R': "15:04", 'S': "05",
	'T': "15:04:05", 'x': "01/02/06", 'X': "15:04:05", 'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST",
}

func appendISOWeek(b []byte, letter byte, t time.Time) []byte {
	year, week := t.ISOWeek()
	switch letter {
	case 'g':
		return appendNumber(b, year%100, 2, '0')
	case 'G':
		return appendNumber(b, year, 4, '0')
	}
	return appendNumber(b, week, 2, '0')
}

// appendNumber writes n in at least width places.
func appendNumber(b []byte, n, width int, fill byte) []byte {
	var place [20]byte
	i := len(place)
	for ; n > 0 || i == len(place); n /= 10 {
		i--
		place[i] = byte('0' + n%10)
	}
	for range width - (len(place) - i) {
		b = append(b, fill)
	}
	return append(b, place[i:]...)
}
