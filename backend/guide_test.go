package backend_test

import (
	"os"
	"strings"
	"testing"
)

// What docs/subscriptions.md shows is code of the examples, which compile and run.
func TestTheGuideShowsTheExamples(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	// Without the indentation, which is another where a piece stands by itself.
	flat := func(code string) string {
		var lines []string
		for line := range strings.Lines(code) {
			lines = append(lines, strings.TrimSpace(line))
		}
		return strings.TrimSpace(strings.Join(lines, "\n"))
	}
	examples := flat(read("subscriptions_example_test.go"))
	pieces := strings.Split(read("../docs/subscriptions.md"), "```go\n")[1:]
	if len(pieces) < 10 {
		t.Errorf("the guide has %d pieces of code", len(pieces))
	}
	for _, piece := range pieces {
		piece, _, closed := strings.Cut(piece, "```")
		if !closed || !strings.Contains(examples, flat(piece)) {
			t.Errorf("this is in no example:\n%s", piece)
		}
	}
}
