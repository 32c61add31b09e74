package wire

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestF16_WhatAHeaderCantCarryIsEscaped(t *testing.T) {
	for _, tt := range []struct {
		name, value  string
		escaped      string // in a metadata header
		escapedInAll string // in a list; empty: the same
	}{
		{"nothing", "", "", ""},
		{"plain text", "AccountOpened.v2", "AccountOpened.v2", ""},
		{"JSON", `{"user":"ann","n":[1,2]}`, `{"user":"ann","n":[1,2]}`, `{"user":"ann"%2C"n":[1%2C2]}`},
		{"other languages", "Überweisung 振替 🎉", "Überweisung 振替 🎉", ""},
		{"blanks within", "a  b", "a  b", ""},
		{"a blank", " ", "%20", ""},
		{"blanks at the ends", "  a ", "%20 a%20", ""},
		{"a wide blank at an end", "a\u3000", "a%E3%80%80", ""},
		{"a no-break space at an end", "\u00a0a\u00a0b", "%C2%A0a\u00a0b", ""},
		{"a byte order mark at an end", "\ufeff{}", "%EF%BB%BF{}", ""},
		{"a byte order mark within", "a\ufeffb", "a\ufeffb", ""},
		{"a line break", "a\r\nNats-Rollup: all", "a%0D%0ANats-Rollup: all", ""},
		{"tab, NUL, DEL, escape", "\ta\x00\x7f\x1b[2J", "%09a%00%7F%1B[2J", ""},
		{"C1 controls", "a\u0085b\u009bc", "a%C2%85b%C2%9Bc", ""},
		{"Unicode's line breaks", "a\u2028b\u2029c", "a%E2%80%A8b%E2%80%A9c", ""},
		{"the escape itself", "100%", "100%25", ""},
		{"what looks escaped", "%41%0A", "%2541%250A", ""},
		{"invalid UTF-8", "a\xff\xfe\xc3b", "a%FF%FE%C3b", ""},
		{"a cut-off character", "ab\xe2\x82", "ab%E2%82", ""},
		{"a surrogate", "\xed\xa0\x80", "%ED%A0%80", ""},
		{"the replacement character", "a\ufffdb", "a\ufffdb", ""},
		{"a header", "Trib-Id: 1", "Trib-Id: 1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.escapedInAll == "" {
				tt.escapedInAll = tt.escaped
			}
			if got := escape(tt.value, false); got != tt.escaped {
				t.Errorf("escape(%q) = %q, want %q", tt.value, got, tt.escaped)
			}
			if got := escape(tt.value, true); got != tt.escapedInAll {
				t.Errorf("in a list escape(%q) = %q, want %q", tt.value, got, tt.escapedInAll)
			}
			checkEscape(t, tt.value)
		})
	}
}

func TestF17_OnlyUpperCaseEscapesAreRead(t *testing.T) {
	for _, tt := range []struct{ value, want string }{
		{"", ""}, {"a", "a"}, {"%41", "A"}, {"%25%25", "%%"}, {"%00%FF", "\x00\xff"}, {"a%2Cb,c", "a,b,c"},
	} {
		if got, err := unescape(tt.value); got != tt.want || err != nil {
			t.Errorf("unescape(%q) = %q, %v, want %q", tt.value, got, err, tt.want)
		}
	}
	for _, value := range []string{"%", "a%", "%4", "%2c", "%fF", "%%41", "% 1", "%4\xff", "%41%4"} {
		if got, err := unescape(value); !errors.Is(err, ErrMalformed) {
			t.Errorf("unescape(%q) = %q, %v, want ErrMalformed", value, got, err)
		}
	}
}

func TestEscapeReturnsWhatNeedsNoneAsItIs(t *testing.T) {
	value := `{"text":"für alle, 振替"}`
	if n := testing.AllocsPerRun(100, func() { _ = escape(value, false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEscapeRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkEscape(t, anyText().Draw(t, "value")) })
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", " ", "a,b", "a\r\nb: c", "%41", "\xff", "\u2028", "\u0085x\u00a0", "\ufeff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) { checkEscape(t, value) })
}

// checkEscape checks everything that an escaped value promises.
func checkEscape(t rapid.TB, value string) {
	for _, list := range []bool{false, true} {
		escaped := escape(value, list)
		if got, err := unescape(escaped); got != value || err != nil {
			t.Fatalf("%q escaped is %q, which unescaped is %q, %v", value, escaped, got, err)
		}
		switch {
		case len(escaped) > 3*len(value):
			t.Fatalf("%q grew to %d bytes", value, len(escaped))
		case !utf8.ValidString(escaped):
			t.Fatalf("%q escaped is no UTF-8: %q", value, escaped)
		case strings.ContainsFunc(escaped, unicode.IsControl), strings.ContainsAny(escaped, "\u2028\u2029"):
			t.Fatalf("%q escaped has control characters: %q", value, escaped)
		case strings.TrimFunc(escaped, unicode.IsSpace) != escaped:
			t.Fatalf("%q escaped has blanks at its ends: %q", value, escaped)
		case list && strings.Contains(escaped, ","):
			t.Fatalf("%q escaped for a list has a comma: %q", value, escaped)
		}
		header := map[string][]string{"A": {"1"}, HeaderMetadata: {escaped, "", escaped}, "Z": {"2"}}
		if got := overNATS(t, header); len(got) != 3 || len(got[HeaderMetadata]) != 3 || got[HeaderMetadata][0] != escaped ||
			got[HeaderMetadata][1] != "" || got[HeaderMetadata][2] != escaped {
			t.Fatalf("%q came back from a NATS header as %q", escaped, got)
		}
	}
}
