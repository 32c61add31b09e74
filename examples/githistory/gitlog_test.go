package main

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

const (
	hashA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	hashB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	modes = ":100644 100755 " + hashA + " " + hashB + " "
)

// logOf writes "~" as NUL, which makes git's output readable here.
func logOf(text string) string { return strings.ReplaceAll(text, "~", "\x00") }

func TestParseLog(t *testing.T) {
	header := func(hash string) string { return "~commit~" + hash + "~Ada~ada@x~60~90~why~" }
	made := func(hash string, entries ...entry) commit {
		return commit{hash: hash, author: "Ada", email: "ada@x", subject: "why", time: time.Unix(60, 0).UTC(), entries: entries}
	}
	for _, test := range []struct {
		name, log string
		want      []commit
	}{
		{"nothing", "", nil},
		{"an empty commit", header(hashA), []commit{made(hashA)}},
		{"two empty commits", header(hashA) + header(hashB), []commit{made(hashA), made(hashB)}},
		{
			"a change", header(hashA) + "\n" + modes + "M~a~3\t1\ta~" + header(hashB),
			[]commit{made(hashA, entry{status: 'M', mode: "100755", path: "a", added: 3, removed: 1}), made(hashB)},
		},
		{
			"a rename", header(hashA) + "~\n" + modes + "R090~old~new~3\t1\t~old~new~",
			[]commit{made(hashA, entry{status: 'R', mode: "100755", path: "new", from: "old", added: 3, removed: 1})},
		},
		{
			"a binary file", header(hashA) + "\n" + modes + "A~a~-\t-\ta~",
			[]commit{made(hashA, entry{status: 'A', mode: "100755", path: "a", binary: true})},
		},
		{
			"paths that look like something else", header(hashA) + "\n" +
				modes + "A~commit~" + modes + "C100~:100644~\n1\t2\t~" + modes + "D~-\t-\t~" +
				"1\t0\tcommit~" + "0\t0\t~:100644~\n1\t2\t~" + "0\t7\t-\t-\t~" + header(hashB),
			[]commit{made(hashA,
				entry{status: 'A', mode: "100755", path: "commit", added: 1},
				entry{status: 'C', mode: "100755", path: "\n1\t2\t", from: ":100644"},
				entry{status: 'D', mode: "100755", path: "-\t-\t", removed: 7},
			), made(hashB)},
		},
		{
			"names and subjects that look like something else", "~commit~" + hashA + "~commit~~60~90~~\n" + modes + "M~a~",
			[]commit{{hash: hashA, author: "commit", time: time.Unix(60, 0).UTC(), entries: []entry{{status: 'M', mode: "100755", path: "a"}}}},
		},
		{
			"times that make no sense", "~commit~" + hashA + "~~~999999999999999~90~~" + "~commit~" + hashB + "~~~~x~~",
			[]commit{{hash: hashA, time: time.Unix(90, 0).UTC()}, {hash: hashB, time: time.Unix(0, 0).UTC()}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []commit
			for c, err := range parseLog(iotest.OneByteReader(strings.NewReader(logOf(test.log)))) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, c)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got\n%+v\nwant\n%+v", got, test.want)
			}
		})
	}
}

func TestParseLogRefusesWhatItDoesNotKnow(t *testing.T) {
	header := "~commit~" + hashA + "~Ada~ada@x~60~90~why~"
	for _, log := range []string{
		"warning: something~",
		"~commit~",
		"~commit~" + hashA + "~Ada~ada@x~60~90~cut off",
		"~commit~deadbeef~Ada~ada@x~60~90~why~",
		header + "\n" + modes + "M~",
		header + "\n" + modes + "M~~",
		header + "\n" + modes + "R100~a~",
		header + "\n" + modes + "X~a~",
		header + "\n:100644 M~a~",
		header + "\n" + modes + "M~a~1\t1\tb~",
		header + "\n" + modes + "M~a~x\t1\ta~",
		header + "\n" + modes + "M~a~-1\t1\ta~",
		header + "\n" + modes + "M~a~1\t~",
		header + "\n" + modes + "M~a~1\t1\ta",
	} {
		var failure error
		for _, err := range parseLog(strings.NewReader(logOf(log))) {
			failure = err
		}
		if !errors.Is(failure, errLog) {
			t.Errorf("%q: got %v", log, failure)
		}
	}
}

func TestAnUnfinishedLogDoesNotYieldItsLastCommit(t *testing.T) {
	broken := errors.New("broken")
	log := logOf("~commit~" + hashA + "~~~60~90~~\n" + modes + "M~a~1\t1\ta~" + "~commit~" + hashB + "~~~60~90~~\n" + modes + "M~a~")
	var got []string
	for c, err := range parseLog(io.MultiReader(strings.NewReader(log), iotest.ErrReader(broken))) {
		got = append(got, fmt.Sprint(c.hash, err))
	}
	if want := []string{hashA + "<nil>", "broken"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzParseLog(f *testing.F) {
	header := "~commit~" + hashA + "~Ada~ada@x~60~90~why~"
	for _, log := range []string{
		"", header, header + "\n" + modes + "M~a~3\t1\ta~" + header,
		header + "\n" + modes + "R090~old~new~-\t-\t~old~new~",
	} {
		f.Add([]byte(logOf(log)))
	}
	repo := &repository{root: hashA}
	f.Fuzz(func(t *testing.T, log []byte) {
		ended := false
		for c, err := range parseLog(strings.NewReader(string(log))) {
			if ended {
				t.Fatal("something follows an error")
			}
			if ended = err != nil; ended {
				continue
			}
			changes, err := repo.changes(c)
			if err != nil {
				t.Fatal(err)
			}
			ids := map[string]bool{}
			for _, ch := range changes {
				if ids[ch.stream] {
					t.Fatalf("two changes of %q in one commit", ch.stream)
				}
				ids[ch.stream] = true
			}
			if len(changes) < min(len(c.entries), 1) {
				t.Fatal("entries without a change")
			}
		}
	})
}
