package backendtest

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"testing"

	"github.com/tributary-es/tributary/backend"
)

func forwardClauses(t *testing.T, b backend.Backend) {
	for _, sizes := range [][]int{{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {12}, {1, 4, 2, 3, 1, 1}} {
		for _, batchSize := range []int{1, 2, 3, 5, 11, 12, 13, 1000, math.MaxInt} {
			t.Run(fmt.Sprintf("StreamForward over commits of %v yields batches of exactly %d but for the last", sizes, batchSize), func(t *testing.T) {
				t.Parallel()
				s := fresh(t, b)
				s.add(sizes...)
				wantBatches(t, s.batches(batchSize), batchSize)
				wantSameEvents(t, s.all(), slices.Concat(s.batches(batchSize)...))
			})
		}
	}
	t.Run("StreamForward over a long stream yields all of it", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for range 30 {
			s.add(1, 7, 1, 1, 30)
		}
		for _, batchSize := range []int{1, 7, 500, 1200} {
			batches := s.batches(batchSize)
			wantBatches(t, batches, batchSize)
			wantSameEvents(t, s.all(), slices.Concat(batches...))
		}
	})
	for _, batchSize := range []int{0, -1, math.MinInt} {
		t.Run(fmt.Sprintf("StreamForward with a batch size of %d yields ErrInvalidArgument once", batchSize), func(t *testing.T) {
			t.Parallel()
			s := fresh(t, b)
			s.add(1)
			batches, err := collect(t, s.forward(batchSize))
			wantErr(t, err, backend.ErrInvalidArgument)
			if len(batches) != 0 {
				t.Fatalf("before the error came %d batches", len(batches))
			}
		})
	}
	t.Run("StreamForward over a stream without events yields no pair", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		for batch, err := range s.forward(3) {
			t.Fatalf("it yielded %d events, error %v", len(batch), err)
		}
	})
	t.Run("StreamForward over a missing stream yields ErrStreamNotFound once", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		pairs := 0
		for batch, err := range s.forward(3) {
			pairs++
			wantErr(t, err, backend.ErrStreamNotFound)
			if batch != nil {
				t.Fatalf("with the error came %d events", len(batch))
			}
		}
		if pairs != 1 {
			t.Fatalf("it yielded %d pairs", pairs)
		}
	})
	t.Run("breaking out of StreamForward at an error is no trouble", func(t *testing.T) {
		t.Parallel()
		for range fresh(t, b).forward(3) {
			break
		}
	})
	t.Run("StreamForward ends with the event that was last when the range began", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(4, 1, 1, 6)
		n := 0
		for batch, err := range s.forward(5) {
			must(t, err)
			s.add(3) // in the loop's body: the iteration must not hold what an append needs
			n += len(batch)
		}
		if n != 12 {
			t.Fatalf("it yielded %d events, 12 were there when it began", n)
		}
		s.wantHistory(1, 21)
	})
	t.Run("StreamForward over a stream that is written to yields a beginning of it, with all that was acknowledged before", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(3)
		done := make(chan error)
		go func() {
			for range 150 {
				if _, err := s.append(backend.AnyVersion(), events(2)); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		for writing := true; writing; {
			select {
			case err := <-done:
				must(t, err)
				writing = false
			default:
			}
			acknowledged := s.info().Version
			got := slices.Concat(s.batches(7)...)
			if uint64(len(got)) < acknowledged || len(got)%2 == 0 {
				t.Fatalf("it yielded %d events, %d were acknowledged", len(got), acknowledged)
			}
			wantVersions(t, got, s.name, 1, uint64(len(got)))
		}
		s.wantHistory(1, 303)
	})
	t.Run("breaking out of StreamForward ends it, and it can be ranged over again", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1, 4, 1, 1)
		seq := s.forward(2)
		for stop := range 4 {
			n := 0
			for batch, err := range seq {
				must(t, err)
				wantVersions(t, batch, s.name, uint64(2*n+1), uint64(2*n+len(batch)))
				if n++; n > stop {
					break
				}
			}
		}
		batches, err := collect(t, seq)
		must(t, err)
		wantBatches(t, batches, 2)
		s.wantHistory(1, 7)
	})
	t.Run("each range over StreamForward sees the stream as it then is", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		seq := s.forward(2)
		_, err := collect(t, seq)
		wantErr(t, err, backend.ErrStreamNotFound)
		for version := uint64(1); version <= 5; version++ {
			s.add(1)
			batches, err := collect(t, seq)
			must(t, err)
			wantVersions(t, slices.Concat(batches...), s.name, 1, version)
		}
		must(t, s.delete(0))
		_, err = collect(t, seq)
		wantErr(t, err, backend.ErrStreamNotFound)
	})
	t.Run("iterations over one stream don't disturb each other", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1, 4, 1, 1)
		seq := s.forward(1)
		one, stopOne := iter.Pull2(seq)
		defer stopOne()
		two, stopTwo := iter.Pull2(seq)
		defer stopTwo()
		next := func(pull func() ([]backend.RecordedEvent, error, bool), version uint64) {
			batch, err, ok := pull()
			must(t, err)
			if !ok {
				t.Fatalf("an iteration ended before version %d", version)
			}
			wantVersions(t, batch, s.name, version, version)
		}
		next(one, 1)
		next(one, 2)
		next(two, 1)
		next(one, 3)
		next(two, 2)
		stopOne()
		for version := uint64(3); version <= 7; version++ {
			next(two, version)
		}
		if _, _, ok := two(); ok {
			t.Fatal("an iteration goes on past the end")
		}
	})
	for _, change := range []struct {
		what   string
		change func(*stream) error
	}{
		{"deleted", func(s *stream) error { return s.delete(0) }},
		{"deleted and written again", func(s *stream) error { return errors.Join(s.delete(0), s.writeAgain(300)) }},
		{"truncated in part", func(s *stream) error { return s.truncate(200) }},
		{"truncated whole", func(s *stream) error { return s.truncate(noLimit) }},
		{"truncated whole and written to", func(s *stream) error { return errors.Join(s.truncate(noLimit), s.writeAgain(300)) }},
	} {
		t.Run("a stream that is "+change.what+" under StreamForward is yielded as it was, or ends with ErrStreamChanged", func(t *testing.T) {
			t.Parallel()
			for _, batchSize := range []int{1, 40} {
				s := fresh(t, b)
				for range 30 {
					s.add(1, 9)
				}
				before := s.wantHistory(1, 300)
				var got []backend.RecordedEvent
				var end error
				for batch, err := range s.forward(batchSize) {
					if len(got) == 0 {
						mustOrSkip(t, change.change(s))
					}
					got, end = append(got, batch...), err
				}
				if end == nil && len(got) != len(before) {
					t.Fatalf("it yielded %d of %d events, and no error", len(got), len(before))
				} else if end != nil {
					wantErr(t, end, backend.ErrStreamChanged)
				}
				wantSameEvents(t, before[:len(got)], got)
			}
		})
	}
}

// writeAgain appends n events, each a commit.
func (s *stream) writeAgain(n int) error {
	for range n {
		if _, err := s.append(backend.AnyVersion(), events(1)); err != nil {
			return err
		}
	}
	return nil
}

// wantBatches checks that all but the last have exactly batchSize events.
func wantBatches(t tester, batches [][]backend.RecordedEvent, batchSize int) {
	t.Helper()
	for i, batch := range batches {
		if len(batch) > batchSize || len(batch) < batchSize && i < len(batches)-1 {
			t.Fatalf("batch %d of %d has %d events, want %d", i+1, len(batches), len(batch), batchSize)
		}
	}
}
