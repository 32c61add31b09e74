package backendtest

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func createClauses(t *testing.T, b backend.Backend) {
	t.Run("a backend has a name that stays the same", func(t *testing.T) {
		t.Parallel()
		if name := b.BackendName(); name == "" || name != b.BackendName() {
			t.Fatalf("the name is %q, then %q", name, b.BackendName())
		}
	})
	t.Run("creating a stream returns it empty, with a non-zero ID, created now", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		before := time.Now()
		info := s.create()
		if info.ID == 0 || info.UUID != s.name || info.Version != 0 || info.DeletedAt != nil {
			t.Fatalf("CreateStream returned %+v", info)
		}
		wantNow(t, "CreatedAt", info.CreatedAt, before, 0)
	})
	t.Run("info of a created stream is what CreateStream returned", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		created := s.create()
		wantSameInfo(t, created, s.info())
		if at := s.info().CreatedAt; at.Location() != time.UTC {
			t.Fatalf("info says that it was created at %v, want UTC", at)
		}
	})
	t.Run("a created stream has no events, and reading it is no error", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		s.wantHistory(1, 0)
	})
	t.Run("creating a stream that exists returns ErrStreamExists and changes nothing", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		before := s.state()
		got, err := s.b.CreateStream(s.ctx, backend.Stream{UUID: s.name}, uuid.Nil)
		wantErr(t, err, backend.ErrStreamExists)
		if got.Persisted() {
			t.Fatalf("with the error came %+v", got)
		}
		s.wantState(before)
	})
	t.Run("creating a stream that has events returns ErrStreamExists and changes nothing", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1, 2)
		before := s.state()
		_, err := s.b.CreateStream(s.ctx, backend.Stream{UUID: s.name}, uuid.Nil)
		wantErr(t, err, backend.ErrStreamExists)
		s.wantState(before)
	})
	t.Run("a stream is created at the time that is given, in UTC, to the nanosecond", func(t *testing.T) {
		t.Parallel()
		for _, at := range []time.Time{
			time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.FixedZone("east", 5*3600+1800)),
			time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.UTC),
			time.Date(1600, 1, 1, 0, 0, 0, 1, time.UTC), // before what 64 bits of nanoseconds hold
			time.Date(2500, 1, 1, 0, 0, 0, 1, time.UTC), // after it
			time.Now(), // with a monotonic reading, which is not stored
		} {
			s := fresh(t, b)
			created, err := s.b.CreateStream(s.ctx, backend.Stream{UUID: s.name, CreatedAt: at}, uuid.Nil)
			must(t, err)
			s.add(1)
			for _, got := range []time.Time{created.CreatedAt, s.info().CreatedAt} {
				if want := at.UTC().Round(0); got != want {
					t.Fatalf("created at %v, want %v", got, want)
				}
			}
		}
	})
	t.Run("creating a stream ignores all but the name and CreatedAt", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		deletedAt := time.Now()
		info, err := s.b.CreateStream(s.ctx, backend.Stream{ID: 1 << 62, UUID: s.name, Version: 7, DeletedAt: &deletedAt}, uuid.New())
		must(t, err)
		if info.ID == 1<<62 || info.Version != 0 || info.DeletedAt != nil {
			t.Fatalf("CreateStream returned %+v", info)
		}
		wantSameInfo(t, info, s.info())
		s.add(1)
		s.wantHistory(1, 1)
	})
	t.Run("streams have different IDs", func(t *testing.T) {
		t.Parallel()
		seen := make(map[uint64]string)
		for i := range 10 {
			s := fresh(t, b)
			if i%2 == 0 {
				s.create()
			} else {
				s.add(1)
			}
			id := s.info().ID
			if other, ok := seen[id]; ok {
				t.Fatalf("event streams %q and %q both have the ID %d", s.name, other, id)
			}
			seen[id] = s.name
		}
	})
	t.Run("an append creates a missing stream, with a non-zero ID, created now", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		before := time.Now()
		s.add(3)
		info := s.info()
		if info.ID == 0 || info.UUID != s.name || info.Version != 3 || info.DeletedAt != nil {
			t.Fatalf("ReadStreamInfo returned %+v", info)
		}
		wantNow(t, "CreatedAt", info.CreatedAt, before, 0)
	})
	t.Run("ID and CreatedAt stay the same, and Version counts the events", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		want := s.create()
		for _, n := range []int{1, 1, 5, 1, 20, 1} {
			s.add(n)
			want.Version += uint64(n)
			wantSameInfo(t, want, s.info())
		}
	})
	t.Run("ID and CreatedAt of a stream that an append created stay the same", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2)
		want := s.info()
		for range 20 {
			s.add(1)
			want.Version++
		}
		wantSameInfo(t, want, s.info())
	})
	t.Run("info of a missing stream is ErrStreamNotFound", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		info, err := s.readInfo()
		wantErr(t, err, backend.ErrStreamNotFound)
		if info != (backend.Stream{}) {
			t.Fatalf("with the error came %+v", info)
		}
	})
	t.Run("Persisted tells whether a stream is stored", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		created := s.create()
		if !created.Persisted() || !s.info().Persisted() {
			t.Fatalf("a stream that is stored is not Persisted: %+v", created)
		}
		if (backend.Stream{UUID: s.name}).Persisted() {
			t.Fatal("a stream that was never stored is Persisted")
		}
	})
}
