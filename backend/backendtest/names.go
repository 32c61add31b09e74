package backendtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func namesClauses(t *testing.T, b backend.Backend) {
	for what, name := range map[string]string{
		"no text":                 "",
		"a blank":                 " ",
		"a text with a blank":     "account 42",
		"a blank at the end":      "account-42 ",
		"a text with a tab":       "account\t42",
		"a text with a newline":   "account\n42",
		"a text with CR LF":       "account\r\n42",
		"a text with NUL":         "account\x0042",
		"a text with DEL":         "account\x7f42",
		"a text with a C1 byte":   "account\u008542",
		"invalid UTF-8":           "account\xff42",
		"a text too long":         strings.Repeat("a", 256),
		"a text far too long":     strings.Repeat("a", 100_000),
		"a reserved name":         "$",
		"a name of JetStream":     "$JS.API.STREAM.PURGE.EVENTS",
		"a text of several lines": "a\r\nPUB x 0\r\n",
	} {
		t.Run(what+" as a name is ErrInvalidStreamUUID in every method", func(t *testing.T) {
			t.Parallel()
			s := named(t, b, name)
			for method, call := range calls(s) {
				if err := call(); !errors.Is(err, backend.ErrInvalidStreamUUID) {
					t.Errorf("%s returned the error %v", method, err)
				} else if len(err.Error()) > 1000 {
					t.Errorf("%s returned an error whose text has %d bytes", method, len(err.Error()))
				}
			}
		})
	}
	t.Run("names that look alike, or like wildcards, are streams of their own", func(t *testing.T) {
		t.Parallel()
		id := uuid.NewString()
		var streams []*stream
		for _, pattern := range []string{
			"N", "N.", ".N", "N..", "..N", "N.a", "N.a.b", "N..a", "N.a.", "N.*", "N.>", "N.*.b", "N.**", "N*", "N>", "*N", ">N", "*.N", "*.*N",
			"N%", "N%%", "N.%", "N.%2A", "N.%2a", "N.%.a", "N.%25", "N100%", "N+a", "N/a", "N\\a", "N:a", "N,a", "N'a", "N\"a", "N?a=b&c", "N#a", "N{a}", "N[a]", "N|a", "N~",
			"Na", "NA", "Nä", "Na\u0308", "Nünïcode", "N送金", "N💸", "N\u200ba", "N\ufeffa", "N\u2028a", "N$", "N.$", "N.$JS", "_INBOX.N", "N_", "N-", "N-a",
			"N" + strings.Repeat("x", 255-len(id)), "N" + strings.Repeat("x", 254-len(id)), "N" + strings.Repeat(".", 255-len(id)), "N" + strings.Repeat(">", 255-len(id)),
		} {
			streams = append(streams, named(t, b, strings.ReplaceAll(pattern, "N", id)))
		}
		wantIsolated(t, streams)
	})
	t.Run("names of dots and wildcards alone are streams of their own", func(t *testing.T) {
		t.Parallel()
		other := fresh(t, b) // which what is done to them does not concern
		other.add(2, 1)
		before := other.state()
		var streams []*stream
		for _, name := range []string{"*", ">", ".", "..", "...", "*.*", "*.>", "%", "%%", "%2A", "a..b", "a*b", "100%", "0", "-", "_", "💸", "\ufffd"} {
			s := named(t, b, name)
			if err := s.delete(0); err != nil { // left by a run that was broken off
				wantErr(t, err, backend.ErrStreamNotFound)
			}
			streams = append(streams, s)
		}
		wantIsolated(t, streams)
		other.wantState(before)
	})
	t.Run("names are told apart byte for byte", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1)
		for _, name := range []string{strings.ToUpper(s.name), s.name + ".", s.name + "\u200b"} {
			_, err := named(t, b, name).readInfo()
			wantErr(t, err, backend.ErrStreamNotFound)
		}
	})
}

// wantIsolated checks that what is done to one of the streams, which do not
// exist yet, concerns no other. It deletes them in the end.
func wantIsolated(t tester, streams []*stream) {
	t.Helper()
	contents := make([][]backend.UnsavedEvent, len(streams))
	for i, s := range streams {
		if _, err := s.readInfo(); !errors.Is(err, backend.ErrStreamNotFound) {
			t.Fatalf("%q: before it was created, info was returned with the error %v", s.name, err)
		}
		for n := range i%3 + 1 {
			contents[i] = append(contents[i], backend.UnsavedEvent{EventType: "Happened", Data: fmt.Appendf(nil, "%d of %q", n, s.name)})
		}
		s.mustAppend(backend.NoStream(), contents[i])
	}
	check := func(streams []*stream, contents [][]backend.UnsavedEvent) {
		t.Helper()
		for i, s := range streams {
			got := s.wantHistory(1, uint64(len(contents[i])))
			wantRecorded(t, got, contents[i])
			batches := s.batches(100)
			if len(batches) != 1 {
				t.Fatalf("%q came in %d batches", s.name, len(batches))
			}
			wantSameEvents(t, got, batches[0])
		}
	}
	check(streams, contents)
	for i, s := range streams {
		more := backend.UnsavedEvent{EventType: "Happened", Data: []byte("more")}
		s.mustAppend(backend.ExactVersion(uint64(len(contents[i]))), []backend.UnsavedEvent{more})
		contents[i] = append(contents[i], more)
	}
	check(streams, contents)
	for i, s := range streams {
		must(t, s.delete(0))
		if i%8 == 0 {
			check(streams[i+1:], contents[i+1:])
		}
	}
}

// calls returns a call of each method and of each capability that the backend
// has, by its name. Each must fail where the name is illegal, the context is at
// its end or the backend closed.
func calls(s *stream) map[string]func() error {
	calls := map[string]func() error{
		"CreateStream":   func() error { _, err := s.b.CreateStream(s.ctx, backend.Stream{UUID: s.name}, uuid.Nil); return err },
		"DeleteStream":   func() error { return s.delete(0) },
		"AppendToStream": func() error { _, err := s.appendTo(events(1)); return err },
		"ReadStream":     func() error { _, err := s.read(1, 10); return err },
		"ReadStreamInfo": func() error { _, err := s.readInfo(); return err },
		"StreamForward":  func() error { _, err := collect(s.t, s.forward(10)); return err },
		"Append with AnyVersion": func() error {
			_, err := s.append(backend.AnyVersion(), events(1))
			return err
		},
		"Append with NoStream": func() error {
			_, err := s.append(backend.NoStream(), events(2))
			return err
		},
		"Append of no events":         func() error { _, err := s.append(backend.AnyVersion(), nil); return err },
		"AppendToStream of no events": func() error { _, err := s.appendTo(nil); return err },
	}
	if _, ok := s.b.(backend.BackwardReader); ok {
		calls["ReadStreamBackward"] = func() error { _, err := s.readBackward(0, 10); return err }
	}
	if _, ok := s.b.(backend.SoftDeleter); ok {
		calls["SoftDelete"] = func() error { return s.softDelete(backend.AnyVersion()) }
		calls["Restore"] = func() error { return s.restore() }
	}
	if _, ok := s.b.(backend.Truncater); ok {
		calls["Truncate"] = func() error { return s.truncate(1) }
	}
	if _, ok := s.b.(backend.AllReader); ok && s.name != "" { // no prefix is a legal one
		calls["ReadAll"] = func() error {
			_, err := collect(s.t, backend.ReadAll(s.ctx, s.b, backend.ReadAllOptions{Under: s.name}, uuid.Nil))
			return err
		}
	}
	if _, ok := s.b.(backend.Subscriber); ok && s.name != "" { // nor is no event stream illegal
		for what, options := range map[string]backend.SubscribeOptions{"an event stream": {Stream: s.name}, "a prefix": {Under: s.name}} {
			calls["Subscribe to "+what] = func() error {
				for _, err := range s.subscribe(options) {
					if err != nil {
						return err
					}
				}
				return nil
			}
		}
	}
	return calls
}
