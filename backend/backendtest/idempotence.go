package backendtest

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

// remembered is how many of an event stream's latest commits an append that
// expects no exact version is compared with, at least.
const remembered = 8

func idempotenceClauses(t *testing.T, b backend.Backend) {
	if _, ok := b.(backend.Appender); !ok {
		t.Skip("the backend is no backend.Appender")
	}
	exact := []backend.ExpectedVersion{backend.NoStream(), backend.ExactVersion(0)}
	inexact := []backend.ExpectedVersion{backend.AnyVersion(), backend.StreamExists()}

	for _, n := range []int{1, 2, 10} {
		for _, expected := range exact {
			t.Run(fmt.Sprintf("an append of %d that expects %v, repeated, returns the original result and writes nothing", n, expected), func(t *testing.T) {
				t.Parallel()
				s := fresh(t, b)
				given := identified(n)
				original := s.mustAppend(expected, given)
				wantRepetition(t, s, expected, given, original)
			})
			t.Run(fmt.Sprintf("an append of %d that expects %v, repeated after many others, returns the original result", n, expected), func(t *testing.T) {
				t.Parallel()
				s := fresh(t, b)
				given := identified(n)
				original := s.mustAppend(expected, given)
				s.addSingly(100)
				wantRepetition(t, s, expected, given, original)
			})
		}
		t.Run(fmt.Sprintf("an append of %d at a version in the middle, repeated, returns the original result", n), func(t *testing.T) {
			t.Parallel()
			s := fresh(t, b)
			s.add(1, 4)
			given := identified(n)
			original := s.mustAppend(backend.ExactVersion(5), given)
			wantRepetition(t, s, backend.ExactVersion(5), given, original)
			s.add(1)
			wantRepetition(t, s, backend.ExactVersion(5), given, original)
			s.addSingly(40)
			wantRepetition(t, s, backend.ExactVersion(5), given, original)
		})
		for _, expected := range inexact {
			t.Run(fmt.Sprintf("an append of %d that expects %v, repeated within %d commits, returns the original result", n, expected, remembered), func(t *testing.T) {
				t.Parallel()
				s := fresh(t, b)
				s.add(1)
				given := identified(n)
				original := s.mustAppend(expected, given)
				wantRepetition(t, s, expected, given, original)
				for i := range remembered - 1 {
					s.add(1 + i%3)
					wantRepetition(t, s, expected, given, original)
				}
			})
		}
	}
	t.Run("an append that gives versions, repeated, returns the original result", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2)
		given := versioned(3, 2)
		for i := range given {
			given[i].EventUUID = uuid.New()
		}
		original := s.mustAppend(backend.ExactVersion(2), given)
		wantRepetition(t, s, backend.ExactVersion(2), given, original)
	})
	t.Run("an append that created the stream, repeated, creates nothing", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(1)
		original := s.mustAppend(backend.AnyVersion(), given)
		wantRepetition(t, s, backend.AnyVersion(), given, original)
	})
	t.Run("a repetition is told by ids alone: the first data stays", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(2)
		original := s.mustAppend(backend.NoStream(), given)
		other := cloneUnsaved(given)
		for i := range other {
			other[i].Data = []byte("something else")
		}
		wantRepetition(t, s, backend.NoStream(), other, original)
		wantRecorded(t, s.all(), given)
	})
	t.Run("a repetition of the first events of an append returns the result for those", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(5)
		res := s.mustAppend(backend.NoStream(), given)
		res.EventUUIDs, res.Version = res.EventUUIDs[:2], 2
		wantRepetition(t, s, backend.NoStream(), given[:2], res)
	})
	t.Run("a repetition of appends that were several returns the position of the last", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(3)
		s.mustAppend(backend.NoStream(), given[:1])
		res := s.mustAppend(backend.ExactVersion(1), given[1:])
		res.EventUUIDs = idsOf(given)
		s.add(1)
		wantRepetition(t, s, backend.NoStream(), given, res)
		wantRepetition(t, s, backend.AnyVersion(), given, res)
	})

	t.Run("with an exact version whose first event is another, it is a wrong expected version", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(3)
		s.mustAppend(backend.NoStream(), given)
		before := s.state()
		for _, repeated := range [][]backend.UnsavedEvent{identified(1), given[1:], slices.Concat(identified(1), given[1:])} {
			_, err := s.append(backend.ExactVersion(0), repeated)
			wantWrongVersion(t, err, s.name, backend.ExactVersion(0), 3)
			_, err = s.append(backend.NoStream(), repeated)
			wantErr(t, err, backend.ErrStreamExists)
		}
		s.wantState(before)
	})
	t.Run("with an exact version whose later event is another, it is a wrong expected version that says so", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(3)
		s.mustAppend(backend.NoStream(), given)
		before := s.state()
		for _, repeated := range [][]backend.UnsavedEvent{
			slices.Concat(given[:1], identified(1)),
			slices.Concat(given[:2], identified(1)),
			slices.Concat(given[:1], given[2:]),
			slices.Concat(given[:1], identified(9)),
		} {
			for _, expected := range exact {
				_, err := s.append(expected, repeated)
				wantDetail(t, err)
				wantWrongVersion(t, err, s.name, expected, 3)
			}
		}
		s.wantState(before)
	})
	t.Run("with an exact version whose recorded events end too early, it is a wrong expected version that says so", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(5)
		s.mustAppend(backend.NoStream(), given[:3])
		before := s.state()
		for _, expected := range exact {
			_, err := s.append(expected, given)
			wantDetail(t, err)
			wantWrongVersion(t, err, s.name, expected, 3)
		}
		s.wantState(before)
	})
	t.Run("with an exact version above the stream's, it is a wrong expected version", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(1)
		s.mustAppend(backend.NoStream(), given)
		_, err := s.append(backend.ExactVersion(2), given)
		wantWrongVersion(t, err, s.name, backend.ExactVersion(2), 1)
	})
	t.Run("without an exact version, only some of the ids recorded is a wrong expected version that says so", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(3)
		s.mustAppend(backend.NoStream(), given)
		before := s.state()
		for _, repeated := range [][]backend.UnsavedEvent{
			slices.Concat(given, identified(1)),
			slices.Concat(identified(1), given),
			slices.Concat(given[:1], identified(1), given[1:]),
			slices.Concat(given[2:], identified(5)),
		} {
			for _, expected := range inexact {
				_, err := s.append(expected, repeated)
				wantDetail(t, err)
				wantWrongVersion(t, err, s.name, expected, 3)
			}
		}
		s.wantState(before)
	})
	t.Run("without an exact version, the ids recorded in another order is a wrong expected version that says so", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(3)
		s.mustAppend(backend.NoStream(), given)
		before := s.state()
		_, err := s.append(backend.AnyVersion(), []backend.UnsavedEvent{given[1], given[0]})
		wantDetail(t, err)
		_, err = s.append(backend.AnyVersion(), []backend.UnsavedEvent{given[0], given[2]})
		wantDetail(t, err)
		s.wantState(before)
	})
	t.Run("without an exact version, none of the ids recorded is an append", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.mustAppend(backend.NoStream(), identified(2))
		for _, expected := range inexact {
			s.mustAppend(expected, identified(2))
		}
		s.wantHistory(1, 6)
	})
	t.Run("without ids, a repetition with an exact version is a wrong expected version", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := events(2)
		s.mustAppend(backend.NoStream(), given)
		_, err := s.append(backend.ExactVersion(0), given)
		wantWrongVersion(t, err, s.name, backend.ExactVersion(0), 2)
		_, err = s.append(backend.NoStream(), given)
		wantErr(t, err, backend.ErrStreamExists)
		s.wantHistory(1, 2)
	})
	t.Run("without ids, a repetition without an exact version is a new append", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := events(2)
		s.mustAppend(backend.AnyVersion(), given)
		s.mustAppend(backend.AnyVersion(), given)
		s.mustAppend(backend.StreamExists(), given)
		wantRecorded(t, s.wantHistory(1, 6), slices.Concat(given, given, given))
	})
	t.Run("where the version is right the events are written, whatever ids are recorded", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(2)
		s.mustAppend(backend.ExactVersion(0), given)
		s.mustAppend(backend.ExactVersion(2), given)
		wantRecorded(t, s.wantHistory(1, 4), slices.Concat(given, given))
	})
	t.Run("an append repeated after the stream was erased is a new one", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(2)
		for _, expected := range []backend.ExpectedVersion{backend.NoStream(), backend.AnyVersion(), backend.ExactVersion(0)} {
			s.mustAppend(expected, given)
			wantRecorded(t, s.wantHistory(1, 2), given)
			must(t, s.delete(0))
		}
	})
	t.Run("an append repeated on a soft-deleted stream is ErrStreamDeleted, and succeeds once it is restored", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(2)
		original := s.mustAppend(backend.NoStream(), given)
		mustOrSkip(t, s.softDelete(backend.AnyVersion()))
		for _, expected := range slices.Concat(exact, inexact) {
			_, err := s.append(expected, given)
			wantErr(t, err, backend.ErrStreamDeleted)
		}
		must(t, s.restore())
		for _, expected := range slices.Concat(exact, inexact) {
			wantRepetition(t, s, expected, given, original)
		}
	})
	t.Run("an append whose first event is truncated can't be recognised: a wrong expected version", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(3)
		s.mustAppend(backend.NoStream(), given)
		s.add(1)
		mustOrSkip(t, s.truncate(2))
		for range 2 {
			_, err := s.append(backend.ExactVersion(0), given)
			wantWrongVersion(t, err, s.name, backend.ExactVersion(0), 4)
			_, err = s.append(backend.NoStream(), given)
			wantErr(t, err, backend.ErrStreamExists)
			must(t, s.truncate(noLimit))
		}
		s.wantHistory(5, 4)
	})
	t.Run("an append after what is truncated, repeated, returns the original result", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1, 2)
		given := identified(2)
		original := s.mustAppend(backend.ExactVersion(3), given)
		mustOrSkip(t, s.truncate(4))
		wantRepetition(t, s, backend.ExactVersion(3), given, original)
		wantRepetition(t, s, backend.AnyVersion(), given, original)
	})
	for _, expected := range []backend.ExpectedVersion{backend.NoStream(), backend.AnyVersion()} {
		t.Run(fmt.Sprintf("an append that expects %v, sent by many at once, is written once, and all get its result", expected), func(t *testing.T) {
			t.Parallel()
			for range 5 {
				s := fresh(t, b)
				given := identified(3)
				results := make([]backend.AppendResult, 8)
				var wg sync.WaitGroup
				for i := range results {
					wg.Go(func() {
						var err error
						if results[i], err = s.append(expected, given); err != nil {
							t.Errorf("append %d: %v", i, err)
						}
					})
				}
				wg.Wait()
				wantRecorded(t, s.wantHistory(1, 3), given)
				for i := range results {
					if !reflect.DeepEqual(results[i], results[0]) {
						t.Fatalf("append %d returned %+v, append 0 %+v", i, results[i], results[0])
					}
				}
			}
		})
	}
	t.Run("a large append, repeated, returns the original result", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := identified(1000)
		for i := range given {
			given[i].Data = bytes.Repeat([]byte{byte(i)}, 2000)
		}
		original := s.mustAppend(backend.NoStream(), given)
		for _, expected := range slices.Concat(exact, inexact) {
			wantRepetition(t, s, expected, given, original)
		}
		s.add(1)
		wantRepetition(t, s, backend.NoStream(), given, original)
	})
}

// wantRepetition checks that an append of given is answered with the result of
// the original and changes nothing.
func wantRepetition(t tester, s *stream, expected backend.ExpectedVersion, given []backend.UnsavedEvent, original backend.AppendResult) {
	t.Helper()
	before := s.state()
	got, err := s.append(expected, given)
	must(t, err)
	if !reflect.DeepEqual(got, original) {
		t.Fatalf("the repeated append returned\n%.200v, the original one\n%.200v", got, original)
	}
	s.wantState(before)
}

func idsOf(events []backend.UnsavedEvent) []uuid.UUID {
	ids := make([]uuid.UUID, len(events))
	for i := range events {
		ids[i] = events[i].EventUUID
	}
	return ids
}
