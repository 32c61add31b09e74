package backendtest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tributary-es/tributary/backend"
)

func largeClauses(t *testing.T, b backend.Backend) {
	t.Run("a thousand events are appended at once, in order", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(1000)
		res := s.mustAppend(backend.NoStream(), given)
		if res.Version != 1000 || !slices.Equal(res.EventUUIDs, idsOf(given)) {
			t.Fatalf("Append returned version %d and %d ids", res.Version, len(res.EventUUIDs))
		}
		got := s.wantHistory(1, 1000)
		wantRecorded(t, got, given)
		wantOneCommit(t, got, res.Position)
		s.add(1)
		s.wantHistory(1, 1001)
	})
	t.Run("a thousand events of 2 KB are appended at once, in order", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1)
		given := padded(identified(1000), 2000)
		res := s.mustAppend(backend.ExactVersion(1), given)
		got := s.wantHistory(1, 1001)[1:]
		wantRecorded(t, got, given)
		wantOneCommit(t, got, res.Position)
		s.add(1)
		for _, from := range []uint64{2, 500, 1001} {
			some, err := s.read(from, 2)
			must(t, err)
			wantVersions(t, some, s.name, from, from+1)
		}
		_, err := s.append(backend.ExactVersion(1001), events(1))
		wantErr(t, err, backend.ErrWrongExpectedVersion)
	})
	t.Run("several events of 900 KB are appended at once", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := padded(identified(3), 900_000)
		res := s.mustAppend(backend.NoStream(), given)
		got := s.wantHistory(1, 3)
		wantRecorded(t, got, given)
		wantOneCommit(t, got, res.Position)
	})
	t.Run("several events with the most metadata are appended at once", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(10)
		for i := range given {
			given[i].Metadata = bytes.Repeat([]byte{byte('\n' + i)}, backend.MaxMetadataBytes)
		}
		res := s.mustAppend(backend.NoStream(), given)
		got := s.wantHistory(1, 10)
		wantRecorded(t, got, given)
		wantOneCommit(t, got, res.Position)
	})
	for _, size := range []int{20, 2000} {
		t.Run(fmt.Sprintf("a thousand events of %d bytes appended at once are seen by a concurrent reader all or not at all", size), func(t *testing.T) {
			t.Parallel()
			for range 3 {
				s := fresh(t, b)
				s.add(1)
				var wg sync.WaitGroup
				stored := make(chan struct{})
				readUntilStored(s, &wg, stored, func() error {
					got, err := s.read(1, noLimit)
					return notPartly(len(got), err)
				})
				readUntilStored(s, &wg, stored, func() error {
					n := 0
					for batch, err := range s.forward(600) {
						if err != nil {
							return err
						}
						n += len(batch)
					}
					return notPartly(n, nil)
				})
				readUntilStored(s, &wg, stored, func() error {
					info, err := s.readInfo()
					return notPartly(int(info.Version), err)
				})
				_, err := s.append(backend.ExactVersion(1), padded(events(1000), size))
				close(stored)
				wg.Wait()
				must(t, err)
				s.wantHistory(1, 1001)
			}
		})
	}

	for _, large := range []struct {
		what  string
		event backend.UnsavedEvent
	}{
		{"metadata of a byte over the limit", backend.UnsavedEvent{EventType: "Happened", Metadata: make([]byte, backend.MaxMetadataBytes+1)}},
		{"a type of a byte over the limit", backend.UnsavedEvent{EventType: strings.Repeat("x", backend.MaxEventTypeBytes+1)}},
	} {
		t.Run(large.what+" is ErrEventTooLarge, and nothing is written, nor of the other events", func(t *testing.T) {
			t.Parallel()
			wantTooLarge(t, b, large.event)
		})
	}
	t.Run("an event too large is refused whole with ErrEventTooLarge or stored whole", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		large := backend.UnsavedEvent{EventType: "Happened", Data: make([]byte, 9<<20)}
		_, err := s.append(backend.AnyVersion(), []backend.UnsavedEvent{large})
		if err == nil {
			wantRecorded(t, s.wantHistory(1, 1), []backend.UnsavedEvent{large})
			return
		}
		wantTooLarge(t, b, large)
	})
	t.Run("an append too large is refused whole with ErrAppendTooLarge or stored whole", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1)
		before := s.state()
		given := identified(5000)
		_, err := s.append(backend.ExactVersion(1), given)
		if err == nil {
			wantRecorded(t, s.wantHistory(1, 5001)[1:], given)
			return
		}
		wantErr(t, err, backend.ErrAppendTooLarge)
		s.wantState(before)
		s.add(1)
		s.wantHistory(1, 2)
	})
}

// wantTooLarge checks that an append with the event is refused wherever in it the
// event is, and has no effect.
func wantTooLarge(t tester, b backend.Backend, large backend.UnsavedEvent) {
	t.Helper()
	missing, s := fresh(t, b), fresh(t, b)
	s.add(2)
	before := s.state()
	for _, given := range [][]backend.UnsavedEvent{{large}, append(events(3), large), append([]backend.UnsavedEvent{large}, events(3)...)} {
		_, err := missing.append(backend.AnyVersion(), given)
		wantErr(t, err, backend.ErrEventTooLarge)
		_, err = missing.readInfo()
		wantErr(t, err, backend.ErrStreamNotFound)
		_, err = s.appendTo(given)
		wantErr(t, err, backend.ErrEventTooLarge)
		_, err = s.append(backend.ExactVersion(2), given)
		wantErr(t, err, backend.ErrEventTooLarge)
		if text := err.Error(); len(text) > 1000 {
			t.Fatalf("the error's text has %d bytes", len(text))
		}
	}
	s.wantState(before)
	s.add(1)
	s.wantHistory(1, 3)
}

// wantOneCommit checks that all events have the position that their append
// returned.
func wantOneCommit(t tester, got []backend.RecordedEvent, position uint64) {
	t.Helper()
	for i := range got {
		if got[i].Position != position {
			t.Fatalf("event %d has the position %d, its append returned %d", i, got[i].Position, position)
		}
	}
}

// readUntilStored reads again and again, and at least once after stored is
// closed.
func readUntilStored(s *stream, wg *sync.WaitGroup, stored <-chan struct{}, read func() error) {
	wg.Go(func() {
		for last := false; ; {
			if err := read(); err != nil {
				s.t.Error(err)
				return
			}
			if last {
				return
			}
			select {
			case <-stored:
				last = true
			default:
			}
		}
	})
}

// notPartly returns an error where n is neither what was there before nor all.
func notPartly(n int, err error) error {
	if err == nil && n != 1 && n != 1001 {
		return fmt.Errorf("a reader saw %d of the 1 + 1000 events", n)
	}
	return err
}

// padded makes the data of events that long, and hard to compress away.
func padded(events []backend.UnsavedEvent, size int) []backend.UnsavedEvent {
	for i := range events {
		events[i].Data = bytes.Repeat(append([]byte{byte(i), byte(i >> 8)}, events[i].Data...), size/len(events[i].Data)+1)[:size]
	}
	return events
}
