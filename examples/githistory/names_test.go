package main

import (
	"strconv"
	"strings"
	"testing"

	"github.com/tributary-es/tributary"
)

const testKey = "7b38858d98c2"

func TestStreamNames(t *testing.T) {
	long := strings.Repeat("directory/", 30)
	for _, test := range []struct{ path, want string }{
		{"Makefile", "Makefile"},
		{"cmd/bbolt/main.go", "cmd.bbolt.main:go"},
		{".gitignore", ":gitignore"},
		{"a b", "a=20b"},
		{"a:b=c", "a=3Ab=3Dc"},
		{"line\nbreak\ttab", "line=0Abreak=09tab"},
		{"nel\u0085", "nel=C2=85"},
		{"ünïcode/日本語", "ünïcode.日本語"},
		{"\xff\xfe", "=FF=FE"},
		{"a\xe2\x82", "a=E2=82"},
		{"\uFFFD", "\uFFFD"},
		{`quo"te'back\slash`, `quo"te'back\slash`},
		{"*/>/%/$", "*.>.%.$"},
		{long, strings.Repeat("directory.", 20) + "dire=~49e36a1cfba9146e64a8d72edf266b8c"},
		{long + "x", strings.Repeat("directory.", 20) + "dire=~"},
		{strings.Repeat("ä", 200), strings.Repeat("ä", 102) + "=~"},
	} {
		got := streamName(testKey, test.path)
		want := "git." + testKey + "." + test.want
		if !strings.HasPrefix(got, want) || len(test.path) < 100 && got != want {
			t.Errorf("%.40q: got %s (%d bytes), want %s", test.path, got, len(got), want)
		}
		if err := tributary.CheckStreamUUID(got); err != nil {
			t.Errorf("%.40q: %v", test.path, err)
		}
	}
}

func FuzzStreamName(f *testing.F) {
	for _, path := range []string{"a", "a/b.c", "a b", "=20", "a:b", "\xff", "\u0085", "\uFFFD", strings.Repeat("x ", 120), "=~"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if path == "" {
			t.Skip("no file has it")
		}
		name := streamName(testKey, path)
		if err := tributary.CheckStreamUUID(name); err != nil {
			t.Fatal(err)
		}
		rest, ok := strings.CutPrefix(name, "git."+testKey+".")
		if !ok {
			t.Fatalf("%q is outside of the repository", name)
		}
		if strings.Contains(rest, "=~") {
			if len(name) < tributary.MaxStreamUUIDBytes-3 {
				t.Fatalf("%q is cut, although it is short", name)
			}
			return
		}
		if back := unescapePath(t, rest); back != path {
			t.Fatalf("%q is %q, which is %q", path, name, back)
		}
	})
}

// unescapePath undoes escapePath, which shows that it is one to one.
func unescapePath(t *testing.T, escaped string) string {
	t.Helper()
	var path []byte
	for i := 0; i < len(escaped); i++ {
		switch c := escaped[i]; c {
		case '.':
			path = append(path, '/')
		case ':':
			path = append(path, '.')
		case '=':
			b, err := strconv.ParseUint(escaped[i+1:i+3], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			path = append(path, byte(b))
			i += 2
		default:
			path = append(path, c)
		}
	}
	return string(path)
}
