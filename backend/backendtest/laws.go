package backendtest

import (
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
	"pgregory.net/rapid"
)

func lawClauses(t *testing.T, b backend.Backend) {
	t.Run("whatever is appended is read back", func(t *testing.T) {
		t.Parallel()
		anyBytes := rapid.SliceOfN(rapid.Byte(), 0, 64)
		anyText := rapid.OneOf(rapid.StringN(0, 32, 64), rapid.Map(anyBytes, func(b []byte) string { return string(b) }),
			rapid.StringOfN(rapid.SampledFrom([]rune(" \r\n\t,%\x00:=;\\\"")), 0, 16, -1))
		event := rapid.Custom(func(t *rapid.T) backend.UnsavedEvent {
			return backend.UnsavedEvent{
				EventUUID: uuid.New(),
				EventType: anyText.Filter(func(s string) bool { return s != "" }).Draw(t, "type"),
				Data:      rapid.OneOf(anyBytes, rapid.Just([]byte{'\n'})).Draw(t, "data"),
				Metadata:  []byte(anyText.Draw(t, "metadata")),
			}
		})
		rapid.Check(t, func(t *rapid.T) {
			s := fresh(t, b)
			var given []backend.UnsavedEvent
			for _, commit := range rapid.SliceOfN(rapid.SliceOfN(event, 1, 5), 1, 3).Draw(t, "commits") {
				s.mustAppend(backend.ExactVersion(uint64(len(given))), commit)
				given = append(given, commit...)
			}
			wantRecorded(t, s.wantHistory(1, uint64(len(given))), given)
		})
	})
	t.Run("whatever is done to streams, they are what a model of them is", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			one := fresh(t, b)
			models := []*model{{stream: one}, {stream: named(t, b, one.name+".child")}}
			for range rapid.IntRange(1, 25).Draw(t, "steps") {
				rapid.SampledFrom(models).Draw(t, "stream").step(t)
			}
			for _, m := range models {
				m.check(t)
			}
			if _, ok := b.(backend.AllReader); ok {
				models[1].checkAll(t, one.mustReadAll(backend.ReadAllOptions{Under: one.name, BatchSize: 4}))
			}
		})
	})
}

// model is an event stream as it should be.
type model struct {
	*stream
	exists, deleted bool
	first           uint64 // the first version that is kept
	events          []backend.UnsavedEvent
	id              uint64 // 0: not seen yet
}

func (m *model) version() uint64 { return uint64(len(m.events)) }

// step does something to the event stream and the model, and compares them.
func (m *model) step(t *rapid.T) {
	steps := []string{"create", "append", "append", "append", "append to", "delete"}
	if _, ok := m.b.(backend.SoftDeleter); ok {
		steps = append(steps, "soft-delete", "restore", "restore")
	}
	if _, ok := m.b.(backend.Truncater); ok {
		steps = append(steps, "truncate")
	}
	if _, ok := m.b.(backend.Appender); ok {
		steps = append(steps, "repeat")
	}
	switch rapid.SampledFrom(steps).Draw(t, "step") {
	case "create":
		_, err := m.b.CreateStream(m.ctx, backend.Stream{UUID: m.name}, uuid.Nil)
		if m.exists {
			wantErr(t, err, backend.ErrStreamExists)
		} else {
			must(t, err)
			m.begin()
		}
	case "append":
		expected := m.drawExpected(t)
		given := identified(rapid.IntRange(0, 4).Draw(t, "events"))
		res, err := m.append(expected, given)
		m.appended(t, given, m.verdict(expected), err)
		if err == nil && res.Version != m.version() {
			t.Fatalf("an append that expects %v returned version %d, want %d", expected, res.Version, m.version())
		}
	case "append to":
		given := identified(rapid.IntRange(1, 4).Draw(t, "events"))
		expected := backend.StreamExists()
		if rapid.Bool().Draw(t, "with versions") {
			at := m.version() + uint64(rapid.IntRange(0, 1).Draw(t, "off"))
			expected = backend.ExactVersion(at)
			for i := range given {
				given[i].StreamVersion = at + 1 + uint64(i)
			}
		}
		ids, err := m.appendTo(given)
		want := m.verdict(expected)
		if !m.exists {
			want = backend.ErrStreamNotFound
		}
		m.appended(t, given, want, err)
		if err == nil && !slices.Equal(ids, idsOf(given)) {
			t.Fatalf("AppendToStream returned the ids %v, want %v", ids, idsOf(given))
		}
	case "repeat":
		if m.first == 0 || m.first > m.version() {
			break
		}
		from := rapid.Uint64Range(m.first, m.version()).Draw(t, "from")
		to := rapid.Uint64Range(from, m.version()).Draw(t, "to")
		given := cloneUnsaved(m.events[from-1 : to])
		for i := range given {
			given[i].StreamVersion = 0
		}
		res, err := m.append(backend.ExactVersion(from-1), given)
		if m.deleted {
			wantErr(t, err, backend.ErrStreamDeleted)
		} else if must(t, err); res.Version != to || !slices.Equal(res.EventUUIDs, idsOf(given)) {
			t.Fatalf("the repeated append of the versions %d to %d returned %+v", from, to, res)
		}
	case "delete":
		version := rapid.SampledFrom([]uint64{0, m.version(), m.version(), m.version() + 1}).Draw(t, "version")
		err := m.delete(version)
		switch {
		case !m.exists:
			wantErr(t, err, backend.ErrStreamNotFound)
		case version != 0 && version != m.version():
			wantWrongVersion(t, err, m.name, backend.ExactVersion(version), m.version())
		default:
			must(t, err)
			*m = model{stream: m.stream}
		}
	case "soft-delete":
		expected := m.drawExpected(t)
		err := m.softDelete(expected)
		if !m.exists {
			wantErr(t, err, backend.ErrStreamNotFound)
		} else if want := m.verdict(expected); want != nil {
			wantErr(t, err, want)
		} else {
			must(t, err)
			m.deleted = true
		}
	case "restore":
		if err := m.restore(); !m.exists {
			wantErr(t, err, backend.ErrStreamNotFound)
		} else {
			must(t, err)
			m.deleted = false
		}
	case "truncate":
		before := rapid.SampledFrom([]uint64{0, 1, m.version() / 2, m.version(), m.version() + 1, noLimit}).Draw(t, "before")
		switch err := m.truncate(before); {
		case !m.exists:
			wantErr(t, err, backend.ErrStreamNotFound)
		case m.deleted:
			wantErr(t, err, backend.ErrStreamDeleted)
		default:
			must(t, err)
			m.first = max(m.first, min(before, m.version()+1))
		}
	}
	m.check(t)
}

func (m *model) begin() { m.exists, m.first = true, 1 }

// appended compares the outcome of an append with what it should be.
func (m *model) appended(t *rapid.T, given []backend.UnsavedEvent, want, err error) {
	if want != nil {
		wantErr(t, err, want)
		return
	}
	must(t, err)
	if !m.exists && len(given) > 0 {
		m.begin()
	}
	m.events = append(m.events, given...)
}

func (m *model) drawExpected(t *rapid.T) backend.ExpectedVersion {
	return rapid.SampledFrom([]backend.ExpectedVersion{
		backend.AnyVersion(), backend.NoStream(), backend.StreamExists(), backend.ExactVersion(0),
		backend.ExactVersion(m.version()), backend.ExactVersion(m.version()), backend.ExactVersion(m.version() + 1),
	}).Draw(t, "expected")
}

// verdict returns the error that an append gets, or nil.
func (m *model) verdict(expected backend.ExpectedVersion) error {
	at, exact := expected.Exact()
	switch {
	case m.deleted:
		return backend.ErrStreamDeleted
	case expected == backend.StreamExists() && !m.exists:
		return backend.ErrStreamNotFound
	case expected == backend.NoStream() && m.version() > 0:
		return backend.ErrStreamExists
	case exact && at != m.version():
		return backend.ErrWrongExpectedVersion
	}
	return nil
}

// check compares what is read of the event stream with the model.
func (m *model) check(t *rapid.T) {
	info, err := m.readInfo()
	got, readErr := m.read(0, noLimit)
	batches, rangeErr := collect(t, m.forward(3))
	if !m.exists {
		wantErr(t, err, backend.ErrStreamNotFound)
		wantErr(t, readErr, backend.ErrStreamNotFound)
		wantErr(t, rangeErr, backend.ErrStreamNotFound)
		return
	}
	must(t, err)
	if info.Version != m.version() || (info.DeletedAt != nil) != m.deleted || info.ID == 0 || m.id != 0 && info.ID != m.id {
		t.Fatalf("info is %+v, want version %d, soft-deleted: %t, ID %d", info, m.version(), m.deleted, m.id)
	}
	m.id = info.ID
	if m.deleted {
		wantErr(t, readErr, backend.ErrStreamDeleted)
		wantErr(t, rangeErr, backend.ErrStreamDeleted)
		return
	}
	must(t, readErr)
	must(t, rangeErr)
	wantVersions(t, got, m.name, m.first, m.version())
	wantRecorded(t, got, m.events[m.first-1:])
	wantBatches(t, batches, 3)
	wantSameEvents(t, got, slices.Concat(batches...))
	version := rapid.Uint64Range(0, m.version()+1).Draw(t, "version to read from")
	limit := rapid.Uint64Range(0, m.version()+1).Draw(t, "limit")
	some, err := m.read(version, limit)
	must(t, err)
	want := got[min(max(version, m.first)-m.first, uint64(len(got))):]
	wantSameEvents(t, want[:min(limit, uint64(len(want)))], some)
}

// checkAll compares what [backend.ReadAll] yielded with the model: the events
// that are kept, and before them at most those that were appended together with
// the first.
func (m *model) checkAll(t *rapid.T, got []backend.RecordedEvent) {
	if !m.exists {
		wantVersions(t, got, m.name, 1, 0)
		return
	}
	first := m.version() + 1 - min(uint64(len(got)), m.version())
	wantVersions(t, got, m.name, first, m.version())
	wantRecorded(t, got, m.events[first-1:])
	if first > m.first {
		t.Fatalf("it yielded the events from version %d on, want those from %d on", first, m.first)
	}
	for _, e := range got[:m.first-first] {
		if m.first > m.version() || e.Position != got[m.first-first].Position {
			t.Fatalf("it yielded version %d; versions below %d are truncated", e.StreamVersion, m.first)
		}
	}
}
