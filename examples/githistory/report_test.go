package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/backend/memory"
	"github.com/tributary-es/tributary/examples/internal/terminal"
)

// reported imports the repository and returns what answers questions about it.
func (r *testRepo) reported() *report {
	r.t.Helper()
	b := memory.New()
	r.imported(b)
	return &report{backend: b, key: r.open().key()}
}

// subjects describes a file's history, an event each.
func (r *testRepo) subjects(path string) []string {
	r.t.Helper()
	events, err := r.reported().history(r.t.Context(), filePath(path))
	if err != nil {
		r.t.Fatal(err)
	}
	var all []string
	for _, e := range events {
		all = append(all, e.Subject+": "+e.what())
	}
	return all
}

func TestAFilesHistoryGoesBackThroughItsNames(t *testing.T) {
	r := newRepo(t)
	r.change("one", "a")
	r.change("two", "a")
	r.git("mv", "a", "b")
	r.commit("three")
	r.git("mv", "b", "c")
	r.commit("four")
	r.change("five", "c")
	r.change("a new one", "a") // has nothing to do with c
	r.git("rm", "-q", "c")
	r.commit("six")

	want := []string{"one: created", "two: changed", "three: renamed from a", "four: renamed from b", "five: changed", "six: deleted"}
	if got := r.subjects("c"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	want = []string{"one: created", "two: changed", "three: renamed to b", "a new one: created"}
	if got := r.subjects("a"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAFileRenamedInCirclesHasAHistory(t *testing.T) {
	r := newRepo(t)
	r.change("0", "a")
	want := []string{"0: created"}
	for i, name := range []string{"b", "a", "b", "c", "a"} {
		from := r.git("ls-files")
		r.git("mv", from, name)
		r.commit(fmt.Sprint(i + 1))
		want = append(want, fmt.Sprintf("%d: renamed from %s", i+1, from))
	}
	if got := r.subjects("a"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAChangeMadeToTheOldNameOnABranchIsInTheHistory(t *testing.T) {
	r := newRepo(t)
	r.change("one", "a")
	r.git("checkout", "-q", "-b", "side")
	r.change("side", "a")
	r.git("checkout", "-q", "main")
	r.git("mv", "a", "b")
	r.commit("two")
	r.git("merge", "-q", "--no-ff", "-m", "merge", "side")
	r.change("three", "b")

	got := r.subjects("b")
	slices.Sort(got) // which of two branches comes first is up to git
	if want := []string{"one: created", "side: changed", "three: changed", "two: renamed from a"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAPathWithoutEvents(t *testing.T) {
	r := newRepo(t)
	r.change("one", "a")
	if _, err := r.reported().history(t.Context(), "b"); !errors.Is(err, errNoFile) {
		t.Errorf("got %v", err)
	}
}

func TestTotals(t *testing.T) {
	r := newRepo(t)
	r.change("one", "a", "日本", "line\nbreak")
	r.change("two", "a")
	r.write("a", "")
	r.commit("three")
	b := memory.New()
	r.imported(b)
	r.git("reset", "-q", "--hard", "HEAD~1")
	r.change("three, otherwise", "日本")
	var p progress
	im := importer{backend: b, repository: r.open(), progress: &p}
	if err := im.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	rep := &report{backend: b, key: r.open().key(), foreign: im.foreign}
	sum, err := rep.summarize(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := printTotals(&out, sum, 3); err != nil {
		t.Fatal(err)
	}
	want := `5 events in 3 commits: 3 paths, 1 author, +5 -0 lines, 2026-01-01 to 2026-01-01

  changes  added  removed  authors  last change  path
        2      2        0        1   2026-01-01  a
        2      2        0        1   2026-01-01  日本
        1      1        0        1   2026-01-01  "line\nbreak"
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestTheHistoryTable(t *testing.T) {
	r := newRepo(t)
	r.change("one \x1b[31mred", "a")
	r.write("a", "\x00")
	r.commit("two")
	r.git("mv", "a", "b")
	r.commit("three")
	events, err := r.reported().history(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := printHistory(&out, "a", events); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"a: 3 events\n\n", "  created       +1 -0   Ada: \"one \\x1b[31mred\"\n", "  changed       binary  Ada: two\n", "  renamed to b          Ada: three\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestForeignEventsAreErrorsNotPanics(t *testing.T) {
	r := newRepo(t)
	r.change("one", "a")
	rep := r.reported()
	name := streamName(rep.key, "other")
	if _, err := backend.Append(t.Context(), rep.backend, name, backend.AnyVersion(),
		[]backend.UnsavedEvent{{EventType: "FileChanged", Data: []byte("not JSON")}}, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	if _, err := rep.summarize(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("got %v, want one that names the event stream", err)
	}
}

func TestNumbersAreGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := terminal.Grouped(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
