package wire

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const upperHex = "0123456789ABCDEF"

// escape makes a value that a header carries unchanged, whatever client and
// server it passes through: a percent sign, control characters and line breaks
// (Unicode's too, for clients and terminals know them), bytes that are no UTF-8,
// and blanks at either end become %XX; in a list, commas too. What needs no
// escaping is returned as it is.
func escape(value string, list bool) string {
	if !needsEscape(value, list) {
		return value
	}
	var b strings.Builder
	b.Grow(len(value) + 16)
	for i := 0; i < len(value); {
		r, size := utf8.DecodeRuneInString(value[i:])
		if carried(r, size, i == 0 || i+size == len(value), list) {
			b.WriteString(value[i : i+size])
		} else {
			for _, c := range []byte(value[i : i+size]) {
				b.WriteByte('%')
				b.WriteByte(upperHex[c>>4])
				b.WriteByte(upperHex[c&15])
			}
		}
		i += size
	}
	return b.String()
}

func needsEscape(value string, list bool) bool {
	for i := 0; i < len(value); {
		if c := value[i]; c > ' ' && c < 0x7f && c != '%' && c != ',' { // nearly always, so first
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(value[i:])
		if !carried(r, size, i == 0 || i+size == len(value), list) {
			return true
		}
		i += size
	}
	return false
}

// carried reports whether a character may stand in a value as it is; end says
// that it is the value's first or last. A size of 1 with [utf8.RuneError] is a
// byte that is no UTF-8.
func carried(r rune, size int, end, list bool) bool {
	switch {
	case r == '%', r == ',' && list, r == utf8.RuneError && size == 1:
		return false
	case r == '\u2028', r == '\u2029', unicode.IsControl(r):
		return false
	case end:
		// JavaScript's trim takes the byte order mark for a blank.
		return !unicode.IsSpace(r) && r != '\uFEFF'
	}
	return true
}

// unescape is the inverse of escape.
func unescape(value string) (string, error) {
	if strings.IndexByte(value, '%') < 0 {
		return value, nil
	}
	b, err := appendUnescaped(make([]byte, 0, len(value)), value)
	return string(b), err
}

// appendUnescaped appends what unescape returns; there are never more bytes than
// value has.
func appendUnescaped(b []byte, value string) ([]byte, error) {
	for {
		at := strings.IndexByte(value, '%')
		if at < 0 {
			return append(b, value...), nil
		}
		b = append(b, value[:at]...)
		if at+2 >= len(value) {
			return nil, fmt.Errorf("%w: an escape is cut off", ErrMalformed)
		}
		hi, lo := strings.IndexByte(upperHex, value[at+1]), strings.IndexByte(upperHex, value[at+2])
		if hi < 0 || lo < 0 {
			return nil, fmt.Errorf("%w: bad escape %q", ErrMalformed, value[at:at+3])
		}
		b = append(b, byte(hi<<4|lo))
		value = value[at+3:]
	}
}
