package backendtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func raceClauses(t *testing.T, b backend.Backend) {
	t.Run("no append slips through a concurrent deletion, and none after it is lost", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1)
		r := race{appenders: 8, rounds: 30}
		var last span // of the last deletion
		r.run(s, func(int) error {
			begin := r.now()
			if err := s.delete(0); errors.Is(err, backend.ErrStreamNotFound) {
				return nil
			} else if err != nil {
				return err
			}
			last = span{begin, r.now()}
			return nil
		}, backend.ErrStreamNotFound)
		var got []backend.RecordedEvent
		if state := s.state(); state.exists {
			got = s.wantHistory(1, state.info.Version)
		}
		r.wantOutcome(t, got, last)
	})
	t.Run("an append that a deletion expects no more makes it fail, and nothing is lost", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		first := s.add(1)
		r := race{appenders: 4, rounds: 30}
		var last span
		r.run(s, func(int) error {
			info, err := s.readInfo()
			if errors.Is(err, backend.ErrStreamNotFound) {
				return nil
			} else if err != nil {
				return err
			}
			begin := r.now()
			switch err := s.delete(info.Version); {
			case errors.Is(err, backend.ErrWrongExpectedVersion):
				return nil
			case err != nil:
				return err
			}
			last = span{begin, r.now()}
			return nil
		}, backend.ErrStreamNotFound)
		var got []backend.RecordedEvent
		if state := s.state(); state.exists {
			got = s.wantHistory(1, state.info.Version)
		}
		if last == (span{}) { // it never succeeded, so that all is there
			if got[0].EventUUID != first.EventUUIDs[0] {
				t.Fatal("the first event is lost")
			}
			got = got[1:]
		}
		r.wantOutcome(t, got, last)
	})
	t.Run("a deletion that expects a version erases that many events, whatever is appended meanwhile", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1)
		r := race{appenders: 1, rounds: 150} // one, so that its versions tell the lives apart
		var erased []uint64
		r.run(s, func(int) error {
			info, err := s.readInfo()
			if err != nil && !errors.Is(err, backend.ErrStreamNotFound) {
				return err
			}
			if info.Version == 0 { // which would expect nothing
				return nil
			}
			switch err := s.delete(info.Version); {
			case errors.Is(err, backend.ErrWrongExpectedVersion):
				return nil
			case err != nil:
				return err
			}
			erased = append(erased, info.Version)
			return nil
		}, nil)
		lives := []uint64{1}
		for _, a := range r.appends {
			if a.Version == 1 {
				lives = append(lives, 0)
			}
			if lives[len(lives)-1]++; lives[len(lives)-1] != a.Version {
				t.Fatalf("life %d: version %d was acknowledged after version %d", len(lives), a.Version, lives[len(lives)-1]-1)
			}
		}
		for i, version := range erased {
			if lives[i] != version {
				t.Fatalf("life %d was erased at version %d, but %d events were acknowledged", i+1, version, lives[i])
			}
		}
	})
	t.Run("a soft deletion that expects a version hides that many events, whatever is appended meanwhile", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		mustOrSkip(t, s.restore())
		r := race{appenders: 8, rounds: 30}
		r.run(s, func(int) error {
			before, err := s.readInfo()
			if err != nil {
				return err
			}
			switch err := s.softDelete(backend.ExactVersion(before.Version)); {
			case errors.Is(err, backend.ErrWrongExpectedVersion):
				return nil
			case err != nil:
				return err
			}
			if after, err := s.readInfo(); err != nil || after.Version != before.Version {
				return fmt.Errorf("soft-deleted at version %d, it has version %d, error %v", before.Version, after.Version, err)
			}
			return s.restore()
		}, backend.ErrStreamDeleted)
		r.wantOutcome(t, s.wantHistory(1, s.info().Version), span{})
	})
	t.Run("no append is lost in a concurrent truncation, and versions go on", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(3)
		mustOrSkip(t, s.truncate(1))
		r := race{appenders: 8, rounds: 20}
		first := uint64(1)
		r.run(s, func(i int) error {
			info, err := s.readInfo()
			if err != nil {
				return err
			}
			first = max(first, info.Version+uint64(i%2)) // all but the last one, or all, that it has seen
			return s.truncate(first)
		}, nil)
		got := s.wantHistory(first, 3+8*20)
		for _, a := range r.appends {
			if a.Version < first {
				continue
			}
			if e := got[a.Version-first]; e.EventUUID != a.EventUUIDs[0] || e.Position != a.Position {
				t.Fatalf("version %d was acknowledged with the id %v, but is %v", a.Version, a.EventUUIDs[0], e.EventUUID)
			}
		}
	})
	t.Run("truncating past the end erases what was acknowledged before it began, and nothing that began after", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1)
		mustOrSkip(t, s.truncate(noLimit))
		r := race{appenders: 8, rounds: 20}
		var last span
		r.run(s, func(int) error {
			begin := r.now()
			err := s.truncate(noLimit)
			last = span{begin, r.now()}
			return err
		}, nil)
		got := s.all()
		s.wantHistory(1+8*20+1-uint64(len(got)), 1+8*20)
		r.wantOutcome(t, got, last)
	})
	t.Run("no append succeeds while a stream is soft-deleted, and none that did is lost", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		mustOrSkip(t, s.restore())
		r := race{appenders: 8, rounds: 30}
		var hidden []span
		r.run(s, func(int) error {
			if err := s.softDelete(backend.AnyVersion()); err != nil {
				return err
			}
			begin := r.now()
			_, err := s.read(1, 10)
			if !errors.Is(err, backend.ErrStreamDeleted) {
				return fmt.Errorf("a read of the soft-deleted stream returned the error %w", err)
			}
			hidden = append(hidden, span{begin, r.now()})
			return s.restore()
		}, backend.ErrStreamDeleted)
		got := s.wantHistory(1, s.info().Version)
		r.wantOutcome(t, got, span{})
		for _, a := range r.appends {
			if slices.ContainsFunc(hidden, func(h span) bool { return h.begin < a.begin && a.end < h.end }) {
				t.Fatalf("the append of version %d began and succeeded while the stream was soft-deleted", a.Version)
			}
		}
	})
	t.Run("a read while a name is deleted and written again sees one life of it, whole to its end", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		reads := []func() ([]backend.RecordedEvent, error){
			func() ([]backend.RecordedEvent, error) { return s.read(1, noLimit) },
			func() (got []backend.RecordedEvent, end error) {
				for batch, err := range s.forward(3) {
					got, end = append(got, batch...), err
				}
				return got, end
			},
		}
		for _, read := range reads {
			for range 2 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						got, err := read()
						if err != nil && !errors.Is(err, backend.ErrStreamNotFound) && !errors.Is(err, backend.ErrStreamChanged) {
							t.Errorf("a read returned the error %v", err)
							return
						}
						if err := oneLife(got); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
		}
		for life := range 15 {
			for i, n := range []int{1, 4, 1, 1, 3} {
				given := events(n)
				for k := range given {
					given[k].EventType = fmt.Sprintf("Life%d", life)
				}
				expected := backend.StreamExists()
				if i == 0 {
					expected = backend.NoStream()
				}
				if _, err := s.append(expected, given); err != nil {
					t.Errorf("life %d: %v", life, err)
				}
			}
			if err := s.delete(10); err != nil {
				t.Errorf("life %d: %v", life, err)
			}
		}
		close(stop)
		wg.Wait()
	})
	t.Run("a read while a stream is truncated and written to sees an end of it without a gap", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(5)
		mustOrSkip(t, s.truncate(1))
		r := race{appenders: 2, rounds: 40}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		var acknowledged atomic.Uint64
		for range 2 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					from := acknowledged.Load()
					got, err := s.read(1, noLimit)
					if err != nil {
						t.Errorf("a read returned the error %v", err)
						return
					}
					for i := 1; i < len(got); i++ {
						if got[i].StreamVersion != got[i-1].StreamVersion+1 {
							t.Errorf("version %d came after version %d", got[i].StreamVersion, got[i-1].StreamVersion)
							return
						}
					}
					if len(got) > 0 && got[len(got)-1].StreamVersion < from {
						t.Errorf("a read ends at version %d, %d was acknowledged", got[len(got)-1].StreamVersion, from)
						return
					}
				}
			})
		}
		r.run(s, func(i int) error {
			info, err := s.readInfo()
			if err != nil {
				return err
			}
			acknowledged.Store(info.Version)
			return s.truncate(info.Version - uint64(i%3))
		}, nil)
		close(stop)
		wg.Wait()
	})
}

// oneLife returns an error where events are not versions 1, 2, … of one life.
func oneLife(events []backend.RecordedEvent) error {
	var seen []string
	for i, e := range events {
		if e.StreamVersion != uint64(i+1) {
			return fmt.Errorf("event %d of a read has the version %d", i+1, e.StreamVersion)
		}
		if !slices.Contains(seen, e.EventType) {
			seen = append(seen, e.EventType)
		}
	}
	if len(seen) > 1 {
		return fmt.Errorf("a read returned events of several lives: %s", strings.Join(seen, ", "))
	}
	return nil
}

// span is a time, by the clock of a race.
type span struct{ begin, end uint64 }

// race lets goroutines append to one event stream while something else is done
// to it, and keeps what was acknowledged, and when.
type race struct {
	appenders, rounds int

	clock   atomic.Uint64
	mu      sync.Mutex
	appends []acknowledged
}

type acknowledged struct {
	backend.AppendResult
	span
}

func (r *race) now() uint64 { return r.clock.Add(1) }

// run returns when all appends are done. Odd appenders expect that the event
// stream exists, which may then be refused with the error tolerated; a nil
// tolerated stands for none. disturb is called again and again meanwhile.
func (r *race) run(s *stream, disturb func(i int) error, tolerated error) {
	var wg sync.WaitGroup
	for g := range r.appenders {
		expected := []backend.ExpectedVersion{backend.AnyVersion(), backend.StreamExists()}[g%2]
		wg.Go(func() {
			for range r.rounds {
				begin := r.now()
				res, err := s.append(expected, identified(1))
				switch {
				case err == nil:
					end := r.now()
					r.mu.Lock()
					r.appends = append(r.appends, acknowledged{res, span{begin, end}})
					r.mu.Unlock()
				case tolerated != nil && errors.Is(err, tolerated):
				default:
					s.t.Error(err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for i := 0; ; i++ {
		if err := disturb(i); err != nil {
			s.t.Error(err)
			<-done
			return
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

// wantOutcome checks what an event stream holds after all events were erased
// during the span last: no event that was acknowledged before it, all that
// began after it, each once and at the version acknowledged.
func (r *race) wantOutcome(t tester, got []backend.RecordedEvent, last span) {
	t.Helper()
	stored := make(map[uuid.UUID]backend.RecordedEvent)
	for _, e := range got {
		if _, twice := stored[e.EventUUID]; twice {
			t.Fatalf("version %d is an event that is there twice", e.StreamVersion)
		}
		stored[e.EventUUID] = e
	}
	for _, a := range r.appends {
		e, ok := stored[a.EventUUIDs[0]]
		delete(stored, a.EventUUIDs[0])
		switch {
		case ok && a.end < last.begin:
			t.Fatalf("version %d was acknowledged before the stream was erased, and is still there", a.Version)
		case !ok && a.begin > last.end:
			t.Fatalf("version %d was appended after the stream was erased, and is lost", a.Version)
		case ok && (e.StreamVersion != a.Version || e.Position != a.Position):
			t.Fatalf("an event is at version %d and position %d, acknowledged were %d and %d", e.StreamVersion, e.Position, a.Version, a.Position)
		}
	}
	for _, e := range stored {
		t.Fatalf("version %d was never acknowledged", e.StreamVersion)
	}
}
