package backendtest

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func softDeleteClauses(t *testing.T, b backend.Backend) {
	if _, ok := b.(backend.SoftDeleter); !ok {
		t.Run("soft deletion without the capability is ErrUnsupported", func(t *testing.T) {
			s := fresh(t, b)
			s.add(1)
			wantErr(t, s.softDelete(backend.AnyVersion()), backend.ErrUnsupported)
			wantErr(t, s.restore(), backend.ErrUnsupported)
			s.wantHistory(1, 1)
		})
		t.Skip("the backend is no backend.SoftDeleter")
	}
	t.Run("a soft-deleted stream is ErrStreamDeleted to reads, appends, truncation and another soft deletion", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1, 2)
		must(t, s.softDelete(backend.AnyVersion()))
		wantDeleted(t, s)
	})
	t.Run("a stream without events can be soft-deleted", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		created := s.create()
		must(t, s.softDelete(backend.ExactVersion(0)))
		wantDeleted(t, s)
		must(t, s.restore())
		wantSameInfo(t, created, s.info())
		s.add(1)
		s.wantHistory(1, 1)
	})
	t.Run("info of a soft-deleted stream tells since when, and else what it told before", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1, 2)
		want := s.info()
		before := time.Now()
		must(t, s.softDelete(backend.AnyVersion()))
		got := s.info()
		if got.DeletedAt == nil {
			t.Fatal("DeletedAt is nil")
		}
		wantNow(t, "DeletedAt", *got.DeletedAt, before, 5*time.Second) // the store may have a clock of its own
		want.DeletedAt = got.DeletedAt
		wantSameInfo(t, want, got)
		deletedAt := *got.DeletedAt
		*got.DeletedAt = time.Time{} // what is returned belongs to the caller
		if again := s.info(); !again.DeletedAt.Equal(deletedAt) {
			t.Fatalf("it was deleted at %v, then at %v", deletedAt, again.DeletedAt)
		}
	})
	t.Run("creating a soft-deleted stream returns ErrStreamExists", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1)
		must(t, s.softDelete(backend.AnyVersion()))
		_, err := b.CreateStream(s.ctx, backend.Stream{UUID: s.name}, uuid.Nil)
		wantErr(t, err, backend.ErrStreamExists)
		wantDeleted(t, s)
	})
	t.Run("a restored stream has its events, version and info back, and goes on", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1, 2)
		before := s.state()
		must(t, s.softDelete(backend.ExactVersion(3)))
		must(t, s.restore())
		s.wantState(before)
		wantSameEvents(t, before.events, s.batches(10)[0])
		s.mustAppend(backend.ExactVersion(3), events(2))
		s.wantHistory(1, 5)
	})
	t.Run("a stream can be soft-deleted and restored over and over", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1)
		for i := range uint64(4) {
			must(t, s.softDelete(backend.ExactVersion(1+i)))
			wantErr(t, s.softDelete(backend.ExactVersion(1+i)), backend.ErrStreamDeleted)
			must(t, s.restore())
			must(t, s.restore())
			s.mustAppend(backend.ExactVersion(1+i), events(1))
		}
		s.wantHistory(1, 5)
	})
	t.Run("restoring a stream that is not soft-deleted changes nothing", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1, 2)
		before := s.state()
		must(t, s.restore())
		s.wantState(before)
		empty := fresh(t, b)
		empty.create()
		must(t, empty.restore())
		empty.wantHistory(1, 0)
	})
	t.Run("a stream is soft-deleted only where it is as expected", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(3)
		before := s.state()
		for _, version := range []uint64{0, 2, 4, noLimit} {
			wantWrongVersion(t, s.softDelete(backend.ExactVersion(version)), s.name, backend.ExactVersion(version), 3)
		}
		wantErr(t, s.softDelete(backend.NoStream()), backend.ErrStreamExists)
		s.wantState(before)
		for _, expected := range []backend.ExpectedVersion{backend.AnyVersion(), backend.StreamExists(), backend.ExactVersion(3)} {
			must(t, s.softDelete(expected))
			wantDeleted(t, s)
			must(t, s.restore())
		}
		s.wantState(before)
		empty := fresh(t, b)
		empty.create()
		wantWrongVersion(t, empty.softDelete(backend.ExactVersion(1)), empty.name, backend.ExactVersion(1), 0)
		must(t, empty.softDelete(backend.NoStream()))
		wantDeleted(t, empty)
	})
	t.Run("soft-deleting or restoring a missing stream returns ErrStreamNotFound, whatever is expected", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for range 2 {
			for _, expected := range allExpectations() {
				wantErr(t, s.softDelete(expected), backend.ErrStreamNotFound)
			}
			wantErr(t, s.restore(), backend.ErrStreamNotFound)
			s.add(1)
			must(t, s.delete(0)) // the second time it was there before
		}
	})
	t.Run("a soft-deleted stream can be deleted for good: the name is free", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1, 2)
		id := s.info().ID
		must(t, s.softDelete(backend.AnyVersion()))
		wantWrongVersion(t, s.delete(2), s.name, backend.ExactVersion(2), 3)
		wantDeleted(t, s)
		must(t, s.delete(3))
		wantNotFound(t, s)
		s.add(1)
		if info := s.info(); info.ID == id || info.DeletedAt != nil {
			t.Fatalf("in its next life it is %+v; the ID was %d", info, id)
		}
		s.wantHistory(1, 1)
	})
	t.Run("a soft deletion concerns no other stream", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		child, alike := named(t, b, s.name+".child"), named(t, b, s.name+"x")
		for _, s := range []*stream{s, child, alike} {
			s.add(1, 2)
		}
		before, beforeAlike := child.state(), alike.state()
		must(t, s.softDelete(backend.AnyVersion()))
		child.wantState(before)
		alike.wantState(beforeAlike)
	})
	t.Run("what was truncated before a soft deletion stays so after it", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2, 2, 2)
		mustOrSkip(t, s.truncate(4))
		must(t, s.softDelete(backend.ExactVersion(6)))
		wantDeleted(t, s)
		must(t, s.restore())
		s.wantHistory(4, 6)
		must(t, s.truncate(noLimit))
		must(t, s.softDelete(backend.ExactVersion(6)))
		must(t, s.restore())
		s.wantHistory(7, 6)
		s.mustAppend(backend.ExactVersion(6), events(1))
		s.wantHistory(7, 7)
	})
}

// wantDeleted checks that s is soft-deleted to every method, and that trying has
// changed nothing.
func wantDeleted(t tester, s *stream) {
	t.Helper()
	before := s.info()
	if before.DeletedAt == nil {
		t.Fatalf("event stream %q is not soft-deleted", s.name)
	}
	for _, version := range []uint64{0, 1, 2, noLimit} {
		got, err := s.read(version, 10)
		wantErr(t, err, backend.ErrStreamDeleted)
		if len(got) != 0 {
			t.Fatalf("with the error came %d events", len(got))
		}
	}
	batches, err := collect(t, s.forward(1))
	wantErr(t, err, backend.ErrStreamDeleted)
	if len(batches) != 0 {
		t.Fatalf("before the error came %d batches", len(batches))
	}
	for _, expected := range allExpectations() {
		for _, n := range []int{0, 2} {
			_, err := s.append(expected, events(n))
			wantErr(t, err, backend.ErrStreamDeleted)
		}
		wantErr(t, s.softDelete(expected), backend.ErrStreamDeleted)
	}
	for _, given := range [][]backend.UnsavedEvent{nil, events(1), versioned(before.Version+1, 1), versioned(before.Version+7, 1)} {
		_, err := s.appendTo(given)
		wantErr(t, err, backend.ErrStreamDeleted)
	}
	if _, ok := s.b.(backend.BackwardReader); ok {
		_, err := s.readBackward(0, 10)
		wantErr(t, err, backend.ErrStreamDeleted)
	}
	if _, ok := s.b.(backend.Truncater); ok {
		wantErr(t, s.truncate(1), backend.ErrStreamDeleted)
		wantErr(t, s.truncate(noLimit), backend.ErrStreamDeleted)
	}
	wantSameInfo(t, before, s.info())
}
