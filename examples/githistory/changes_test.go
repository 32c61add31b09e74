package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/backend/memory"
)

// eventsOf imports the repository and describes each path's events.
func (r *testRepo) eventsOf(path string, b backend.Backend) []string {
	r.t.Helper()
	events, err := b.ReadStream(r.t.Context(), streamName(r.open().key(), path), 1, 1000, uuid.Nil)
	if err != nil {
		r.t.Fatalf("%q: %v", path, err)
	}
	var all []string
	for _, e := range events {
		all = append(all, e.EventType+" "+string(e.Data))
	}
	return all
}

func TestEveryKindOfChange(t *testing.T) {
	r := newRepo(t)
	lines := "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"
	r.write("file", lines)
	r.write("binary", "\x00\x01")
	created := r.commit("create -> it")
	r.write("file", lines+"11\n12\n")
	r.write("binary", "\x00\x02")
	r.commit("change")
	if err := os.Chmod(filepath.Join(r.dir, "file"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.commit("mode")
	r.git("mv", "file", "renamed")
	r.write("renamed", lines)
	r.commit("rename")
	r.git("rm", "-q", "renamed")
	r.write("copy 1", lines) // git takes one of them for the renamed file
	r.write("copy 2", lines)
	r.commit("one to two")
	r.git("rm", "-q", "copy 1")
	r.commit("delete")
	if err := os.Symlink("nowhere", filepath.Join(r.dir, "copy 1")); err != nil {
		t.Fatal(err)
	}
	r.commit("create again, as a link")
	r.git("update-index", "--add", "--cacheinfo", "160000,"+created+",module")
	r.git("commit", "-q", "-m", "submodule")

	b := memory.New()
	r.imported(b)
	r.checkStored(b, true)
	for path, want := range map[string][]string{
		"file": {
			`FileCreated {"path":"file","mode":"100644","added":10,"removed":0}`,
			`FileChanged {"path":"file","mode":"100644","added":2,"removed":0}`,
			`FileChanged {"path":"file","mode":"100755","added":0,"removed":0}`,
			`FileRenamedTo {"path":"file","to":"renamed","added":0,"removed":0}`,
		},
		"renamed": {
			`FileRenamedFrom {"path":"renamed","from":"file","mode":"100755","added":0,"removed":2}`,
			`FileRenamedTo {"path":"renamed","to":"copy 1","added":0,"removed":0}`,
		},
		"copy 1": {
			`FileRenamedFrom {"path":"copy 1","from":"renamed","mode":"100644","added":0,"removed":0}`,
			`FileDeleted {"path":"copy 1","added":0,"removed":10}`,
			`FileCreated {"path":"copy 1","mode":"120000","added":1,"removed":0}`,
		},
		"copy 2": {`FileCreated {"path":"copy 2","mode":"100644","added":10,"removed":0}`},
		"binary": {
			`FileCreated {"path":"binary","mode":"100644","added":0,"removed":0,"binary":true}`,
			`FileChanged {"path":"binary","mode":"100644","added":0,"removed":0,"binary":true}`,
		},
		"module": {`FileCreated {"path":"module","mode":"160000","added":1,"removed":0}`},
	} {
		if got := r.eventsOf(path, b); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", path, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}

	events, err := b.ReadStream(t.Context(), streamName(r.open().key(), "file"), 1, 1, uuid.Nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"commit":"` + created + `","author":"Ada","email":"ada@example.org","time":"2026-01-01T12:01:00Z","subject":"create -> it"}`
	if got := string(events[0].Metadata); got != want {
		t.Errorf("metadata %s, want %s", got, want)
	}
	if got := events[0].CreatedAt.Format("15:04:05"); got != "12:01:00" {
		t.Errorf("created at %s, want the author's time", got)
	}
}

func TestNamesOfAnyBytes(t *testing.T) {
	names := []string{
		"with space", " leading", "trailing ", "line\nbreak", "tab\there", `quo"te`, "it's", `back\slash`,
		"not utf-8 \xff\xfe", "\xe2\x82", "a.b..c", ".hidden", "...", "*", ">", "**", "100%", "%25", "=3D", "a:b",
		"ünïcode", "日本語", "🎉", "e\u0301", "\u00e9", "\u0085", "\uFFFD", "-", "--", "$HOME", "commit", ":100644",
		"deep/er/and.deeper/file", "no-break\u00a0space", "\x7f", "\x01",
		strings.Repeat("long ", 40), strings.Repeat("d", 200) + "/" + strings.Repeat("é", 100),
		strings.Repeat("d", 200) + "/" + strings.Repeat("é", 100) + "'",
	}
	r := newRepo(t)
	for i, name := range names {
		r.write(name, fmt.Sprintf("%d\n", i))
	}
	r.commit("all at once")
	r.write(names[0], "more\n")
	r.commit("again")
	b := memory.New()
	if appended, _, _ := r.imported(b); appended != len(names)+1 {
		t.Errorf("%d stored, want %d", appended, len(names)+1)
	}
	r.checkStored(b, true)
	stored := slices.Sorted(maps.Keys(storedPerPath(t, b, r.open().key())))
	if want := slices.Sorted(slices.Values(names)); !slices.Equal(stored, want) {
		t.Errorf("stored %q\nwant %q", stored, want)
	}
	if appended, _, _ := r.imported(b); appended != 0 {
		t.Errorf("run again: %d stored", appended)
	}
}

func TestAuthorsOfAnyBytes(t *testing.T) {
	r := newRepo(t)
	long := strings.Repeat("ä", 100_000)
	var b strings.Builder
	fmt.Fprintf(&b, "commit refs/heads/main\nauthor A\xff\"\x01B <> 1 +0000\ncommitter C <c> 2 +0000\ndata %d\n%s\n", len(long), long)
	fmt.Fprintf(&b, "M 100644 inline a\ndata 1\nx\n\n")
	fmt.Fprintf(&b, "commit refs/heads/main\nauthor <a@x> 99999999999999 +0000\ncommitter %s <c> 2 +0000\ndata 0\n", long)
	fmt.Fprintf(&b, "M 100644 inline a\ndata 1\ny\n\n")
	r.gitWith([]byte(b.String()), "fast-import", "--quiet", "--date-format=raw-permissive")
	store := memory.New()
	r.imported(store)
	r.checkStored(store, true)
}

func TestFilePathsInJSON(t *testing.T) {
	for path, want := range map[filePath]string{
		"a/b":  `"a/b"`,
		"ü\n":  `"ü\n"`,
		"\xff": `{"base64":"/w=="}`,
	} {
		text, err := json.Marshal(path)
		if err != nil || string(text) != want {
			t.Errorf("%q: %s, %v; want %s", path, text, err, want)
		}
		var back filePath
		if err := json.Unmarshal(text, &back); err != nil || back != path {
			t.Errorf("%s: %q, %v; want %q", text, back, err, path)
		}
	}
}
