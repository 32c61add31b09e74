package jetstream_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// unfinished stores the first parts of a commit of n events, a message each,
// that is never finished.
func unfinished(s *store, name string, before wire.State, parts, n int) []uint64 {
	s.t.Helper()
	return s.put(name, encode(s.t, n, before, nil, 1)[:parts]...)
}

// wantStream fails the test where any way of reading the event stream shows
// anything but the versions 1 to version.
func wantStream(t *testing.T, b *store, name string, version uint64) {
	t.Helper()
	for _, r := range readers {
		events, err := r.read(t.Context(), b, name)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		wantVersions(t, events, 1, version)
	}
	if got := b.info(name).Version; got != version {
		t.Errorf("info says version %d, want %d", got, version)
	}
	events, err := readAll(t.Context(), b, backend.ReadAllOptions{})
	if err != nil {
		t.Fatalf("ReadAll: %v", err)
	}
	events = slices.DeleteFunc(events, func(e backend.RecordedEvent) bool { return e.StreamUUID != name })
	wantVersions(t, events, 1, version)
}

func TestReadersDropAnUnfinishedCommit(t *testing.T) {
	t.Run("at the end", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		s.add("a", 2, 3)
		s.add("b", 1)
		unfinished(s, "a", s.state("a"), 2, 3)
		wantStream(t, s, "a", 5)
		wantStream(t, s.again(jetstream.Config{}), "a", 5)
		s.add("b", 1) // something else follows
		wantStream(t, s, "a", 5)
	})
	t.Run("in the middle", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		s.add("a", 2, 3)
		before := s.state("a")
		unfinished(s, "a", before, 2, 3)
		unfinished(s, "a", before, 1, 3)
		s.add("a", 1, 1)
		wantStream(t, s, "a", 7)
		wantStream(t, s.again(jetstream.Config{}), "a", 7)
	})
	t.Run("which would have begun the event stream", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		unfinished(s, "a", begun(), 2, 3)
		for _, r := range readers {
			if events, err := r.read(t.Context(), s, "a"); !errors.Is(err, backend.ErrStreamNotFound) {
				t.Errorf("%s: %d events, error %v, want ErrStreamNotFound", r.name, len(events), err)
			}
		}
		if _, err := s.ReadStreamInfo(t.Context(), "a", uuid.Nil); !errors.Is(err, backend.ErrStreamNotFound) {
			t.Errorf("info: error %v, want ErrStreamNotFound", err)
		}
		if events, err := readAll(t.Context(), s, backend.ReadAllOptions{}); err != nil || len(events) != 0 {
			t.Errorf("ReadAll: %d events, error %v", len(events), err)
		}
		err := s.DeleteStream(t.Context(), backend.Stream{UUID: "a"}, uuid.Nil)
		if !errors.Is(err, backend.ErrStreamNotFound) {
			t.Errorf("deleting: error %v, want ErrStreamNotFound", err)
		}
	})
	t.Run("whose first part is missing", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		s.add("a", 2)
		before := s.state("a")
		s.put("a", encode(t, 3, before, nil, 1)[1:2]...)
		s.append("a", backend.ExactVersion(2), identified(2))
		wantStream(t, s, "a", 4)
	})
	t.Run("of many parts, so that a scan is needed", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		for i := range 100 {
			s.add("a", 1)
			if i%10 == 0 {
				unfinished(s, "a", s.state("a"), 2, 3)
			}
		}
		wantStream(t, s, "a", 100)
	})
}

func TestAnAppendGoesOnFromBeforeAnUnfinishedCommit(t *testing.T) {
	for name, appendTo := range map[string]func(t *testing.T, s *store){
		"any version":    func(t *testing.T, s *store) { s.append("a", backend.AnyVersion(), identified(2)) },
		"exact version":  func(t *testing.T, s *store) { s.append("a", backend.ExactVersion(3), identified(2)) },
		"stream exists":  func(t *testing.T, s *store) { s.append("a", backend.StreamExists(), unnamed(2)) },
		"AppendToStream": func(t *testing.T, s *store) { appendVersioned(t, s, "a", 4, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			for head, again := range map[string]bool{"stale head": false, "no head": true} {
				t.Run(head, func(t *testing.T) {
					s := newStore(t, jetstream.Config{})
					s.add("a", 3)
					unfinished(s, "a", s.state("a"), 2, 5)
					if again {
						s = s.again(jetstream.Config{})
					}
					appendTo(t, s)
					wantStream(t, s, "a", 5)
					s.add("a", 1)
					wantStream(t, s, "a", 6)
				})
			}
		})
	}
	t.Run("the version of the unfinished one is refused", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		s.add("a", 3)
		unfinished(s, "a", s.state("a"), 2, 5)
		_, err := backend.Append(t.Context(), s, "a", backend.ExactVersion(5), identified(1), uuid.Nil)
		wrong, ok := errors.AsType[*backend.WrongExpectedVersionError](err)
		if !ok || wrong.Actual != 3 {
			t.Errorf("error %v, want wrong version, actual 3", err)
		}
	})
	t.Run("which would have begun the event stream", func(t *testing.T) {
		for _, expected := range []backend.ExpectedVersion{backend.NoStream(), backend.AnyVersion(), backend.ExactVersion(0)} {
			s := newStore(t, jetstream.Config{EventsPerMessage: 1})
			unfinished(s, "a", begun(), 2, 3)
			s.append("a", expected, identified(3))
			wantStream(t, s, "a", 3)
		}
	})
	t.Run("with the ids of the unfinished one", func(t *testing.T) {
		s := newStore(t, jetstream.Config{EventsPerMessage: 1})
		s.add("a", 1)
		events, _, err := backend.Prepare("a", identified(3), uuid.Nil)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := wire.EncodeEvents(events, s.state("a"), false, nil, wire.Limits{MaxMessageBytes: 1 << 20, EventsPerMessage: 1, MaxMessages: 1000})
		if err != nil {
			t.Fatal(err)
		}
		s.put("a", messages[:2]...)
		s.append("a", backend.ExactVersion(1), events)
		wantStream(t, s, "a", 4)
	})
	t.Run("truncating and deleting go on, too", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		s.add("a", 3, 3)
		unfinished(s, "a", s.state("a"), 2, 5)
		if err := s.Truncate(t.Context(), "a", 4, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		wantVersions(t, s.all("a"), 4, 6)
		unfinished(s, "a", s.state("a"), 2, 5)
		if err := s.DeleteStream(t.Context(), backend.Stream{UUID: "a", Version: 6}, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		s.append("a", backend.NoStream(), identified(2))
		wantStream(t, s, "a", 2)
	})
}

func appendVersioned(t *testing.T, s *store, name string, first uint64, n int) {
	t.Helper()
	events := identified(n)
	for i := range events {
		events[i].StreamVersion = first + uint64(i)
	}
	if _, err := s.AppendToStream(t.Context(), name, events, uuid.Nil); err != nil {
		t.Fatal(err)
	}
}

func TestAForeignMessageIsNamedByPosition(t *testing.T) {
	good := encode(t, 1, begun(), nil, 0)[0].Header
	with := func(name, value string) map[string][]string {
		h := maps.Clone(good)
		h[name] = []string{value}
		return h
	}
	for name, header := range map[string]map[string][]string{
		"no headers":                nil,
		"headers of someone else's": {"Content-Type": {"text/plain"}},
		"one header of ours":        {wire.HeaderCommit: {"1 events"}},
		"format version 2":          with(wire.HeaderCommit, "2 events"),
		"an unknown kind":           with(wire.HeaderCommit, "1 surprise"),
		"a bad version":             with(wire.HeaderVersion, "-1"),
		"an id of 0":                with(wire.HeaderStream, "0 2020-01-01T00:00:00Z"),
		"a bad id of an event":      with(wire.HeaderID, "nonsense"),
		"two ids, one size":         with(wire.HeaderID, strings.Repeat(uuid.NewString()+",", 2)+uuid.NewString()),
		"a size beyond the body":    with(wire.HeaderSize, "1000000"),
		"a bad part":                with(wire.HeaderPart, "3/2 0"),
		"two values of a header":    {wire.HeaderCommit: {"1 events", "1 events"}},
		"an empty type":             with(wire.HeaderType, ""),
		"a bad escape":              with(wire.HeaderType, "%zz"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, jetstream.Config{})
			s.add("x", 1, 2)
			s.add("y", 2)
			position := s.publish("events.x", header, []byte("foreign"))
			for state, b := range map[string]*store{"a known head": s, "no head": s.again(jetstream.Config{})} {
				for _, r := range readers {
					t.Run(state+", "+r.name, func(t *testing.T) {
						_, err := r.read(t.Context(), b, "x")
						wantCorrupted(t, err, position)
					})
				}
				t.Run(state+", other event streams", func(t *testing.T) {
					wantVersions(t, b.all("y"), 1, b.info("y").Version)
					b.add("y", 1)
				})
			}
			t.Run("ReadAll stops at it and goes on behind it", func(t *testing.T) {
				all, err := readAll(t.Context(), s, backend.ReadAllOptions{})
				wantCorrupted(t, err, position)
				if len(all) != 5 {
					t.Errorf("%d events before it, want 5: going on after it would lose them", len(all))
				}
				rest, err := readAll(t.Context(), s, backend.ReadAllOptions{After: position})
				if err != nil {
					t.Fatal(err)
				}
				if len(rest) != 2 {
					t.Errorf("%d events behind it, want 2", len(rest))
				}
			})
		})
	}
}

func TestAForeignMessageMakesAppendsFailInsteadOfGuess(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	s.add("x", 1, 2)
	position := s.publish("events.x", nil, []byte("foreign"))
	before := s.lastSeq()
	for _, b := range []*store{s, s.again(jetstream.Config{})} {
		for _, expected := range []backend.ExpectedVersion{backend.AnyVersion(), backend.ExactVersion(3), backend.NoStream()} {
			_, err := backend.Append(t.Context(), b, "x", expected, identified(1), uuid.Nil)
			wantCorrupted(t, err, position)
		}
	}
	if got := s.lastSeq(); got != before {
		t.Errorf("something was written at %d", got)
	}
}

func TestDeleteStreamClearsAForeignMessageAway(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	s.add("x", 1, 2)
	position := s.publish("events.x", nil, []byte("foreign"))
	wantCorrupted(t, s.DeleteStream(t.Context(), backend.Stream{UUID: "x", Version: 3}, uuid.Nil), position)
	if err := s.DeleteStream(t.Context(), backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadStreamInfo(t.Context(), "x", uuid.Nil); !errors.Is(err, backend.ErrStreamNotFound) {
		t.Errorf("error %v, want ErrStreamNotFound", err)
	}
	s.add("x", 2)
	wantVersions(t, s.all("x"), 1, 2)
	wantVersions(t, s.again(jetstream.Config{}).all("x"), 1, 2)
}

func TestAForeignMessageInTheMiddleIsNotPassedOver(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	s.add("x", 2)
	position := s.publish("events.x", nil, []byte("foreign"))
	s.put("x", encode(t, 2, s.stateAt(position-1), nil, 0)...)
	for _, r := range readers {
		t.Run(r.name, func(t *testing.T) {
			_, err := r.read(t.Context(), s, "x")
			wantCorrupted(t, err, position)
		})
	}
}

func TestASubjectOfNoNameIsNamedByPosition(t *testing.T) {
	for _, subject := range []string{"events.a%41", "events.%2a", "events.%%"} {
		t.Run(subject, func(t *testing.T) {
			s := newStore(t, jetstream.Config{})
			s.add("aA", 2)
			m := encode(t, 1, begun(), nil, 0)[0]
			position := s.publish(subject, m.Header, m.Body)
			s.add("aA", 1)
			all, err := readAll(t.Context(), s, backend.ReadAllOptions{})
			wantCorrupted(t, err, position)
			if len(all) != 2 {
				t.Errorf("%d events before it, want 2", len(all))
			}
			rest, err := readAll(t.Context(), s, backend.ReadAllOptions{After: position})
			if err != nil || len(rest) != 1 {
				t.Errorf("%d events behind it, want 1, error %v", len(rest), err)
			}
			wantVersions(t, s.all("aA"), 1, 3)
		})
	}
}

// What the store keeps for itself is no event of anybody's.
func TestReservedSubjectsArePassedOver(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	s.add("a", 2)
	s.publish("events.$x", nil, []byte("of whatever form"))
	s.add("a", 1)
	all, err := readAll(t.Context(), s, backend.ReadAllOptions{})
	if err != nil || len(all) != 3 {
		t.Errorf("%d events, want 3, error %v", len(all), err)
	}
}

func TestAGapIsNamedInsteadOfAShorterHistory(t *testing.T) {
	t.Run("in the middle", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		state := begun()
		var last uint64
		var chain []wire.Link
		for version := range uint64(5) {
			state.Version = version
			m := encode(t, 1, state, chain, 0)
			if version == 2 || version == 3 {
				continue // the versions 3 and 4 are missing
			}
			position := s.put("x", m...)[0]
			if version < 2 {
				last = position
			}
			chain = append([]wire.Link{{Position: position, Events: 1, Parts: 1}}, chain...)
		}
		wantGap(t, s, "x", 3, 4, last)
		events, err := s.ReadStream(t.Context(), "x", 5, 1, uuid.Nil)
		if err != nil {
			t.Fatalf("what is not concerned can't be read: %v", err)
		}
		wantVersions(t, events, 5, 5)
	})
	t.Run("at the beginning", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		state := begun()
		state.Version = 4
		s.put("x", encode(t, 2, state, nil, 0)...)
		wantGap(t, s, "x", 1, 4, 0)
	})
	t.Run("before an unfinished commit", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		s.add("x", 2)
		last := s.lastSeq()
		state := s.state("x")
		state.Version = 5
		unfinished(s, "x", state, 1, 2)
		wantGap(t, s, "x", 3, 5, last)
	})
}

func wantGap(t *testing.T, s *store, name string, first, last, position uint64) {
	t.Helper()
	for _, r := range readers {
		t.Run(r.name, func(t *testing.T) {
			_, err := r.read(t.Context(), s, name)
			gap := wantCorrupted(t, err, position)
			if gap.StreamUUID != name || gap.FirstVersion != first || gap.LastVersion != last {
				t.Errorf("event stream %q, versions %d to %d, want %q, %d to %d: %v", gap.StreamUUID, gap.FirstVersion, gap.LastVersion, name, first, last, err)
			}
		})
	}
}
