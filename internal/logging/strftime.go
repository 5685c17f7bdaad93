package logging

import (
	"fmt"
	"strconv"
	"time"
)

// Strftime renders t by a C format string, as log_timestamp_format and the
// formats of the tools use it, in the C locale and in t's own time zone. It
// knows every conversion of POSIX and the GNU additions %k %l %P %s; the
// modifiers E and O are skipped, as they are in the C locale. An unknown
// conversion stands for itself, as glibc prints it.
func Strftime(format string, t time.Time) string {
	return string(appendStrftime(make([]byte, 0, 2*len(format)+16), format, t))
}

func appendStrftime(dst []byte, format string, t time.Time) []byte {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			dst = append(dst, format[i])
			continue
		}
		start := i
		i++
		if (format[i] == 'E' || format[i] == 'O') && i+1 < len(format) {
			i++
		}
		var ok bool
		if dst, ok = appendConversion(dst, format[i], t); !ok {
			dst = append(dst, format[start:i+1]...)
		}
	}
	return dst
}

// composed lists the conversions that abbreviate others.
var composed = map[byte]string{
	'c': "%a %b %e %H:%M:%S %Y",
	'D': "%m/%d/%y",
	'F': "%Y-%m-%d",
	'h': "%b",
	'R': "%H:%M",
	'r': "%I:%M:%S %p",
	'T': "%H:%M:%S",
	'X': "%H:%M:%S",
	'x': "%m/%d/%y",
}

// fixed lists the conversions whose text needs no argument.
var fixed = map[byte]string{'%': "%", 'n': "\n", 't': "\t"}

func appendConversion(dst []byte, c byte, t time.Time) ([]byte, bool) {
	if f, ok := composed[c]; ok {
		return appendStrftime(dst, f, t), true
	}
	if s, ok := fixed[c]; ok {
		return append(dst, s...), true
	}
	if n, width, pad, ok := conversionNumber(c, t); ok {
		return appendPadded(dst, n, width, pad), true
	}
	switch c {
	case 'A':
		return append(dst, t.Weekday().String()...), true
	case 'a':
		return append(dst, t.Weekday().String()[:3]...), true
	case 'B':
		return append(dst, t.Month().String()...), true
	case 'b':
		return append(dst, t.Month().String()[:3]...), true
	case 'P':
		return t.AppendFormat(dst, "pm"), true
	case 'p':
		return t.AppendFormat(dst, "PM"), true
	case 'Z':
		return t.AppendFormat(dst, "MST"), true
	case 'z':
		return t.AppendFormat(dst, "-0700"), true
	}
	return dst, false
}

// conversionNumber gives the numeric conversions: value, width and padding.
func conversionNumber(c byte, t time.Time) (n, width int, pad byte, ok bool) {
	hour12 := (t.Hour()+11)%12 + 1
	isoYear, isoWeek := t.ISOWeek()
	weekday := int(t.Weekday())
	switch c {
	case 'C':
		return t.Year() / 100, 2, '0', true
	case 'd':
		return t.Day(), 2, '0', true
	case 'e':
		return t.Day(), 2, ' ', true
	case 'G':
		return isoYear, 1, '0', true
	case 'g':
		return isoYear % 100, 2, '0', true
	case 'H':
		return t.Hour(), 2, '0', true
	case 'I':
		return hour12, 2, '0', true
	case 'j':
		return t.YearDay(), 3, '0', true
	case 'k':
		return t.Hour(), 2, ' ', true
	case 'l':
		return hour12, 2, ' ', true
	case 'M':
		return t.Minute(), 2, '0', true
	case 'm':
		return int(t.Month()), 2, '0', true
	case 'S':
		return t.Second(), 2, '0', true
	case 's':
		return int(t.Unix()), 1, '0', true
	case 'U': // weeks begin on Sunday; days before the first one are week 0
		return (t.YearDay() + 6 - weekday) / 7, 2, '0', true
	case 'u':
		return (weekday+6)%7 + 1, 1, '0', true
	case 'V':
		return isoWeek, 2, '0', true
	case 'W': // weeks begin on Monday
		return (t.YearDay() + 6 - (weekday+6)%7) / 7, 2, '0', true
	case 'w':
		return weekday, 1, '0', true
	case 'Y':
		return t.Year(), 1, '0', true
	case 'y':
		return t.Year() % 100, 2, '0', true
	}
	return 0, 0, 0, false
}

func appendPadded(dst []byte, n, width int, pad byte) []byte {
	if pad == ' ' {
		return fmt.Appendf(dst, "%*d", width, n)
	}
	s := strconv.Itoa(n)
	for range width - len(s) {
		dst = append(dst, '0')
	}
	return append(dst, s...)
}
