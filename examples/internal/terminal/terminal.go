// Package terminal is how the examples write for people: whether there is a
// terminal to draw on, numbers that can be read, and other people's text that does
// nothing to it.
package terminal

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Is reports whether a person is likely to be looking at w.
func Is(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Grouped writes a number with a comma at every thousand.
func Grouped(n int64) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Counted is a number with what it counts: "1 event", "2,000 events".
func Counted(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return Grouped(n) + " " + what
}

// Printable is text as it is, or quoted where it would do things to a terminal
// or to a table, which names and paths in other people's repositories may try.
func Printable(text string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if text == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, odd) {
		return strconv.Quote(text)
	}
	return text
}
