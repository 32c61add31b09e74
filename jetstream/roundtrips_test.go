package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

const (
	requestLast    = "$JS.API.DIRECT.GET.EVENTS.events."
	requestMessage = "$JS.API.DIRECT.GET.EVENTS"
)

// counted opens a store whose requests are counted.
func counted(t *testing.T, cfg jetstream.Config) (*store, *proxy) {
	t.Helper()
	p := newProxy(t, testserver.Single(t))
	return openStore(t, p.connect(), cfg), p
}

// requests returns what do sends.
func requests(t *testing.T, s *store, p *proxy, do func()) []string {
	t.Helper()
	flush := func() {
		if err := s.nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	p.take()
	do()
	flush()
	return p.take()
}

func wantRequests(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("sent\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestAnAppendToANewEventStreamIsOneRequest(t *testing.T) {
	s, p := counted(t, jetstream.Config{})
	for i, expected := range []backend.ExpectedVersion{backend.NoStream(), backend.ExactVersion(0)} {
		name := fmt.Sprintf("new-%d", i)
		got := requests(t, s, p, func() { s.append(name, expected, identified(3)) })
		wantRequests(t, got, "events."+name)
	}
}

func TestAnAppendWithAKnownHeadIsOneRequest(t *testing.T) {
	s, p := counted(t, jetstream.Config{})
	other := s.again(jetstream.Config{})
	s.add("own", 2)
	other.add("read", 2, 3)
	s.all("read")
	if _, err := s.CreateStream(t.Context(), backend.Stream{UUID: "created"}, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	t.Run("after an append", func(t *testing.T) {
		for _, expected := range []backend.ExpectedVersion{backend.AnyVersion(), backend.StreamExists(), backend.ExactVersion(4)} {
			got := requests(t, s, p, func() { s.append("own", expected, identified(1)) })
			wantRequests(t, got, "events.own")
		}
	})
	t.Run("after a read", func(t *testing.T) {
		got := requests(t, s, p, func() { s.append("read", backend.ExactVersion(5), identified(1)) })
		wantRequests(t, got, "events.read")
	})
	t.Run("after creation", func(t *testing.T) {
		got := requests(t, s, p, func() {
			if _, err := s.AppendToStream(t.Context(), "created", identified(1), uuid.Nil); err != nil {
				t.Fatal(err)
			}
		})
		wantRequests(t, got, "events.created")
	})
}

func TestAnAppendWithAnUnknownHeadIsTwoRequests(t *testing.T) {
	s, p := counted(t, jetstream.Config{})
	other := s.again(jetstream.Config{})
	other.add("a", 2)
	other.add("b", 2)
	got := requests(t, s, p, func() { s.append("a", backend.ExactVersion(2), identified(1)) })
	wantRequests(t, got, requestLast+"a", "events.a")
	got = requests(t, s, p, func() { s.append("b", backend.AnyVersion(), unnamed(1)) })
	wantRequests(t, got, requestLast+"b", "events.b")
}

// A rollup may be erased by the server together with what it erases, so one more
// request sees whether it is there.
func TestWhatErasesIsLookedAtOnceMore(t *testing.T) {
	const leader = "$JS.API.STREAM.MSG.GET.EVENTS"
	s, p := counted(t, jetstream.Config{})
	do := func(name string, what func(ctx context.Context, name string) error, want ...string) {
		t.Helper()
		wantRequests(t, requests(t, s, p, func() {
			if err := what(t.Context(), name); err != nil {
				t.Error(err)
			}
		}), want...)
	}
	deleting := func(ctx context.Context, name string) error {
		return s.DeleteStream(ctx, backend.Stream{UUID: name}, uuid.Nil)
	}
	creating := func(ctx context.Context, name string) error {
		_, err := s.CreateStream(ctx, backend.Stream{UUID: name}, uuid.Nil)
		return err
	}
	beginning := func(expected backend.ExpectedVersion) func(ctx context.Context, name string) error {
		return func(ctx context.Context, name string) error {
			_, err := backend.Append(ctx, s, name, expected, unnamed(1), uuid.Nil)
			return err
		}
	}
	truncating := func(ctx context.Context, name string) error { return s.Truncate(ctx, name, 10, uuid.Nil) }
	for _, name := range []string{"a", "b", "c"} {
		s.add(name, 2)
		do(name, deleting, "events."+name, leader)
	}
	do("a", beginning(backend.NoStream()), "events.a", leader)
	do("b", beginning(backend.AnyVersion()), "events.b", leader)
	do("c", creating, "events.c", leader)
	do("a", truncating, "events.a", leader)

	// By who knows nothing of them.
	for _, name := range []string{"a", "b"} {
		do(name, deleting, "events."+name, leader)
	}
	s = s.again(jetstream.Config{})
	do("a", beginning(backend.NoStream()), "events.a", leader, "events.a", leader)
	do("b", creating, "events.b", leader, "events.b", leader)
}

// What is remembered of the many event streams whose heads were forgotten is shared
// between them, and costs none of them a request.
func TestAForgottenHeadIsReadInOneRequest(t *testing.T) {
	s, p := counted(t, jetstream.Config{HeadCacheSize: 2})
	first := s.add("first", 2).Version
	for i := range 100 {
		s.add(fmt.Sprintf("x%d", i), 1) // each seen after the first
	}
	t.Run("to append to", func(t *testing.T) {
		got := requests(t, s, p, func() { s.append("first", backend.ExactVersion(first), identified(1)) })
		wantRequests(t, got, requestMessage, "events.first")
		got = requests(t, s, p, func() { s.append("x0", backend.AnyVersion(), unnamed(1)) })
		wantRequests(t, got, requestMessage, "events.x0")
	})
	t.Run("to read it", func(t *testing.T) {
		for _, name := range []string{"x1", "x2", "x3"} {
			got := requests(t, s, p, func() { wantVersions(t, s.all(name), 1, 1) })
			wantRequests(t, got, requestMessage)
		}
	})
	t.Run("that there is none", func(t *testing.T) {
		got := requests(t, s, p, func() {
			if _, err := s.ReadStreamInfo(t.Context(), "none", uuid.Nil); !errors.Is(err, backend.ErrStreamNotFound) {
				t.Errorf("information about none: error %v", err)
			}
		})
		wantRequests(t, got, requestMessage, "$JS.API.STREAM.INFO.EVENTS")
	})
	t.Run("that there is none to append to", func(t *testing.T) {
		got := requests(t, s, p, func() { s.append("new", backend.AnyVersion(), unnamed(1)) })
		wantRequests(t, got, requestMessage, "$JS.API.STREAM.INFO.EVENTS", "events.new")
	})
}

func TestAConflictIsFoundWithoutGuessing(t *testing.T) {
	s, p := counted(t, jetstream.Config{})
	other := s.again(jetstream.Config{})
	s.add("a", 2)
	other.add("a", 1)
	got := requests(t, s, p, func() { s.append("a", backend.AnyVersion(), unnamed(1)) })
	wantRequests(t, got, "events.a", "$JS.API.STREAM.MSG.GET.EVENTS", "events.a")
}

func TestAnImportGuessesOnceThatAnEventStreamIsNew(t *testing.T) {
	s, p := counted(t, jetstream.Config{})
	other := s.again(jetstream.Config{})
	other.add("a", 2)
	importing := func(expected backend.ExpectedVersion) (err error) {
		_, err = backend.Import(t.Context(), s, func(yield func(backend.StreamAppend, error) bool) {
			yield(backend.StreamAppend{StreamUUID: "a", Expected: expected, Events: unnamed(1)}, nil)
		}, backend.ImportOptions{}, uuid.Nil)
		return err
	}
	got := requests(t, s, p, func() {
		if err := importing(backend.NoStream()); !errors.Is(err, backend.ErrStreamExists) {
			t.Errorf("importing it as a new one: %v", err)
		}
	})
	wantRequests(t, got, "events.a", "$JS.API.STREAM.MSG.GET.EVENTS")

	s, p = counted(t, jetstream.Config{})
	s.again(jetstream.Config{}).add("a", 2)
	got = requests(t, s, p, func() {
		if err := importing(backend.AnyVersion()); err != nil {
			t.Error(err)
		}
	})
	wantRequests(t, got, "events.a", "$JS.API.STREAM.MSG.GET.EVENTS", "events.a")
}

func TestAnAppendOfTenEventsIsOneMessage(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	for range 3 {
		before := s.stored("").Msgs
		s.add("a", 10)
		if got := s.stored("").Msgs; got != before+1 {
			t.Errorf("%d messages, want %d", got, before+1)
		}
	}
	wantVersions(t, s.all("a"), 1, 30)
}

func TestReadingTenCommitsTakesTwoFlights(t *testing.T) {
	s, p := counted(t, jetstream.Config{})
	for i := range 10 {
		s.add("a", 1+i%3)
		s.add("b", 1)
	}
	for name, b := range map[string]*store{"the head known": s, "the head unknown": s.again(jetstream.Config{})} {
		t.Run(name, func(t *testing.T) {
			var events []backend.RecordedEvent
			got := requests(t, b, p, func() { events = b.all("a") })
			wantVersions(t, events, 1, uint64(len(events)))
			// The last commit came with the head.
			want := append([]string{requestLast + "a"}, slices.Repeat([]string{requestMessage}, 9)...)
			wantRequests(t, got, want...)
		})
	}
}

func TestReadingTheLastCommitOrInfoIsOneRequest(t *testing.T) {
	s, p := counted(t, jetstream.Config{})
	last := s.add("a", 1, 2, 3).Version
	wantRequests(t, requests(t, s, p, func() { s.info("a") }), requestLast+"a")
	wantRequests(t, requests(t, s, p, func() {
		events, err := s.ReadStream(t.Context(), "a", last, 10, uuid.Nil)
		if err != nil {
			t.Fatal(err)
		}
		wantVersions(t, events, last, last)
	}), requestLast+"a")
	wantRequests(t, requests(t, s, p, func() {
		if events, err := s.ReadStream(t.Context(), "a", last+1, 10, uuid.Nil); err != nil || len(events) != 0 {
			t.Fatal(events, err)
		}
	}), requestLast+"a")
}

func TestCreatingAnEventStreamIsOneRequest(t *testing.T) {
	s, p := counted(t, jetstream.Config{})
	got := requests(t, s, p, func() {
		if _, err := s.CreateStream(t.Context(), backend.Stream{UUID: "a"}, uuid.Nil); err != nil {
			t.Fatal(err)
		}
	})
	wantRequests(t, got, "events.a")
}

func TestWhatIsRefusedIsNeverSent(t *testing.T) {
	s, p := counted(t, jetstream.Config{})
	got := requests(t, s, p, func() {
		ctx := t.Context()
		for _, name := range []string{"", "a b", "$x", "a\n", "\xff", strings.Repeat("x", 256)} {
			_, err := s.AppendToStream(ctx, name, unnamed(1), uuid.Nil)
			if err == nil {
				t.Errorf("append to %q succeeded", name)
			}
			if _, err := s.ReadStream(ctx, name, 1, 1, uuid.Nil); err == nil {
				t.Errorf("reading %q succeeded", name)
			}
		}
		for i, events := range [][]backend.UnsavedEvent{
			{{}},
			{{EventType: "A", Data: make([]byte, 1<<20)}},
			{{EventType: "A", Metadata: make([]byte, 1<<14+1)}},
			{{EventType: "A", StreamVersion: 1}, {EventType: "A", StreamVersion: 3}},
		} {
			if _, err := backend.Append(ctx, s, "a", backend.NoStream(), events, uuid.Nil); err == nil {
				t.Errorf("append %d succeeded", i)
			}
		}
		for _, err := range s.StreamForward(ctx, "a", 0, uuid.Nil) {
			if err == nil {
				t.Error("a batch size of 0 was accepted")
			}
		}
	})
	wantRequests(t, got)
}
