package backendtest

import (
	"testing"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func deleteClauses(t *testing.T, b backend.Backend) {
	t.Run("a deleted stream is not found by any method", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1, 2)
		must(t, s.delete(0))
		wantNotFound(t, s)
	})
	t.Run("a stream that never was is not found by any method", func(t *testing.T) {
		t.Parallel()
		wantNotFound(t, fresh(t, b))
	})
	t.Run("an empty stream can be deleted", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		must(t, s.delete(0))
		wantNotFound(t, s)
	})
	t.Run("deletion frees the name: created again, a stream is empty and has another ID", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1, 2, 3)
		first := s.info()
		must(t, s.delete(0))
		again := s.create()
		if again.ID == first.ID || again.Version != 0 {
			t.Fatalf("created again it is %+v, before it was %+v", again, first)
		}
		wantSameInfo(t, again, s.info())
		s.wantHistory(1, 0)
	})
	t.Run("after deletion a stream starts at version 1", func(t *testing.T) {
		t.Parallel()
		for _, expected := range []backend.ExpectedVersion{backend.AnyVersion(), backend.NoStream(), backend.ExactVersion(0)} {
			s := fresh(t, b)
			s.add(1, 4)
			must(t, s.delete(0))
			given := events(2)
			if res := s.mustAppend(expected, given); res.Version != 2 {
				t.Fatalf("expecting %v: the append after the deletion led to version %d, want 2", expected, res.Version)
			}
			wantRecorded(t, s.wantHistory(1, 2), given)
		}
	})
	t.Run("nothing of a former life of a name comes back", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		ids := make(map[uint64]bool)
		var position uint64
		for life := range 5 {
			if life%2 == 0 {
				s.create()
			}
			given := events(life + 2)
			res := s.mustAppend(backend.ExactVersion(0), given)
			if res.Position <= position {
				t.Fatalf("life %d: position %d, that of the life before was %d", life, res.Position, position)
			}
			position = res.Position
			wantRecorded(t, s.wantHistory(1, uint64(life+2)), given)
			if id := s.info().ID; ids[id] {
				t.Fatalf("life %d has the ID %d of an earlier one", life, id)
			} else {
				ids[id] = true
			}
			must(t, s.delete(0))
		}
		wantNotFound(t, s)
	})
	t.Run("an append that expects the version of a former life is refused", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		version := s.add(1, 2).Version
		must(t, s.delete(0))
		_, err := s.append(backend.ExactVersion(version), events(1))
		wantWrongVersion(t, err, s.name, backend.ExactVersion(version), 0)
		s.add(1)
		_, err = s.append(backend.ExactVersion(version), events(1))
		wantWrongVersion(t, err, s.name, backend.ExactVersion(version), 1)
		s.wantHistory(1, 1)
	})
	t.Run("deleting with the stream's version deletes it", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2, 1)
		must(t, s.delete(3))
		wantNotFound(t, s)
	})
	t.Run("deleting with another version returns *WrongExpectedVersionError and deletes nothing", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2, 1)
		before := s.state()
		for _, version := range []uint64{1, 2, 4, noLimit} {
			wantWrongVersion(t, s.delete(version), s.name, backend.ExactVersion(version), 3)
		}
		s.wantState(before)
		s.add(1)
		wantWrongVersion(t, s.delete(3), s.name, backend.ExactVersion(3), 4)
		s.wantHistory(1, 4)
	})
	t.Run("deleting an empty stream with a version returns *WrongExpectedVersionError", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		wantWrongVersion(t, s.delete(1), s.name, backend.ExactVersion(1), 0)
		s.wantHistory(1, 0)
	})
	t.Run("deleting a missing stream with a version returns ErrStreamNotFound", func(t *testing.T) {
		t.Parallel()
		wantErr(t, fresh(t, b).delete(1), backend.ErrStreamNotFound)
	})
	t.Run("a deletion concerns no other stream", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(3)
		others := make(map[*stream]state)
		for _, name := range []string{s.name + ".child", s.name + ".child.grandchild", s.name + "x", s.name[:len(s.name)-1], "x" + s.name} {
			other := named(t, b, name)
			other.add(1, 2)
			others[other] = other.state()
		}
		must(t, s.delete(0))
		for other, before := range others {
			other.wantState(before)
			other.add(1)
			other.wantHistory(1, 4)
		}
	})
	t.Run("a stream of many commits is deleted whole", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.addSingly(200)
		must(t, s.delete(200))
		wantNotFound(t, s)
		s.add(1)
		s.wantHistory(1, 1)
	})
}

// wantNotFound checks that nothing finds s, and that looking for it creates
// nothing.
func wantNotFound(t tester, s *stream) {
	t.Helper()
	info, err := s.readInfo()
	wantErr(t, err, backend.ErrStreamNotFound)
	if info.Persisted() {
		t.Fatalf("with the error came %+v", info)
	}
	got, err := s.read(0, noLimit)
	wantErr(t, err, backend.ErrStreamNotFound)
	if len(got) != 0 {
		t.Fatalf("with the error came %d events", len(got))
	}
	_, err = s.read(1, 0)
	wantErr(t, err, backend.ErrStreamNotFound)
	batches, err := collect(t, s.forward(10))
	wantErr(t, err, backend.ErrStreamNotFound)
	if len(batches) != 0 {
		t.Fatalf("before the error came %d batches", len(batches))
	}
	for _, given := range [][]backend.UnsavedEvent{nil, events(1), versioned(1, 1), versioned(2, 2)} {
		ids, err := s.appendTo(given)
		wantErr(t, err, backend.ErrStreamNotFound)
		if len(ids) != 0 {
			t.Fatalf("with the error came %d ids", len(ids))
		}
	}
	_, err = s.append(backend.StreamExists(), events(1))
	wantErr(t, err, backend.ErrStreamNotFound)
	wantErr(t, s.b.DeleteStream(s.ctx, backend.Stream{UUID: s.name}, uuid.Nil), backend.ErrStreamNotFound)
	if _, ok := s.b.(backend.BackwardReader); ok {
		_, err = s.readBackward(0, noLimit)
		wantErr(t, err, backend.ErrStreamNotFound)
	}
	if _, ok := s.b.(backend.SoftDeleter); ok {
		for _, expected := range allExpectations() {
			wantErr(t, s.softDelete(expected), backend.ErrStreamNotFound)
		}
		wantErr(t, s.restore(), backend.ErrStreamNotFound)
	}
	if _, ok := s.b.(backend.Truncater); ok {
		wantErr(t, s.truncate(1), backend.ErrStreamNotFound)
	}
	_, err = s.readInfo()
	wantErr(t, err, backend.ErrStreamNotFound)
}

// allExpectations returns one of each kind, and some exact versions.
func allExpectations() []backend.ExpectedVersion {
	return []backend.ExpectedVersion{
		backend.AnyVersion(), backend.NoStream(), backend.StreamExists(),
		backend.ExactVersion(0), backend.ExactVersion(1), backend.ExactVersion(noLimit),
	}
}
