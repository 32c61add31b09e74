package backend_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/backend/backendtest"
	"github.com/tributary-es/tributary/backend/memory"
)

// plain is a backend of the seven methods alone, with no capability.
type plain struct{ backend.Backend }

func TestContractOfAPlainBackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend { return plain{memory.New()} })
}

func TestCapabilitiesOfAPlainBackend(t *testing.T) {
	ctx, b := t.Context(), plain{memory.New()}
	for name, call := range map[string]func() error{
		"ReadStreamBackward": func() error {
			_, err := backend.ReadStreamBackward(ctx, b, "account-42", 0, 1, uuid.Nil)
			return err
		},
		"ReadAll": func() (end error) {
			for batch, err := range backend.ReadAll(ctx, b, backend.ReadAllOptions{}, uuid.Nil) {
				if batch != nil || end != nil {
					t.Errorf("ReadAll yielded more than an error")
				}
				end = err
			}
			return end
		},
		"SoftDelete": func() error { return backend.SoftDelete(ctx, b, "account-42", backend.AnyVersion(), uuid.Nil) },
		"Restore":    func() error { return backend.Restore(ctx, b, "account-42", uuid.Nil) },
		"Truncate":   func() error { return backend.Truncate(ctx, b, "account-42", 1, uuid.Nil) },
	} {
		err := call()
		if !errors.Is(err, backend.ErrUnsupported) || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s returned the error %v", name, err)
		} else if !strings.Contains(err.Error(), b.BackendName()) {
			t.Errorf("%s: the error %q doesn't name the backend", name, err)
		}
	}
}

// rival is a plain backend to which others append, too, at the worst moment.
type rival struct {
	backend.Backend
	between func(ctx context.Context) // runs once, after the next info
}

func (r *rival) ReadStreamInfo(ctx context.Context, streamUUID string, correlationID uuid.UUID) (backend.Stream, error) {
	info, err := r.Backend.ReadStreamInfo(ctx, streamUUID, correlationID)
	if between := r.between; between != nil {
		r.between = nil
		between(ctx)
	}
	return info, err
}

func TestAppendToAPlainBackendWithARival(t *testing.T) {
	const name = "account-42"
	event := []backend.UnsavedEvent{{EventType: "Opened"}}
	add := func(r *rival) func(context.Context) {
		return func(ctx context.Context) {
			if _, err := backend.Append(ctx, r.Backend, name, backend.AnyVersion(), event, uuid.Nil); err != nil {
				t.Error(err)
			}
		}
	}
	erase := func(r *rival) func(context.Context) {
		return func(ctx context.Context) {
			if err := r.DeleteStream(ctx, backend.Stream{UUID: name}, uuid.Nil); err != nil {
				t.Error(err)
			}
		}
	}
	for _, row := range []struct {
		what     string
		before   int // events that are there before
		rival    func(*rival) func(context.Context)
		expected backend.ExpectedVersion
		want     error
		version  uint64 // that the append leads to
	}{
		{"another creates", 0, add, backend.AnyVersion(), nil, 2},
		{"another creates", 0, add, backend.NoStream(), backend.ErrStreamExists, 0},
		{"another creates", 0, add, backend.ExactVersion(0), backend.ErrWrongExpectedVersion, 0},
		{"another appends", 2, add, backend.AnyVersion(), nil, 4},
		{"another appends", 2, add, backend.StreamExists(), nil, 4},
		{"another appends", 2, add, backend.ExactVersion(2), backend.ErrWrongExpectedVersion, 0},
		{"another deletes", 2, erase, backend.AnyVersion(), nil, 1},
		{"another deletes", 2, erase, backend.StreamExists(), backend.ErrStreamNotFound, 0},
		{"another deletes", 2, erase, backend.ExactVersion(2), backend.ErrWrongExpectedVersion, 0},
	} {
		r := &rival{Backend: plain{memory.New()}}
		for range row.before {
			add(r)(t.Context())
		}
		r.between = row.rival(r)
		res, err := backend.Append(t.Context(), r, name, row.expected, event, uuid.Nil)
		if !errors.Is(err, row.want) || res.Version != row.version {
			t.Errorf("%s, expected %v: got version %d and the error %v, want version %d and %v", row.what, row.expected, res.Version, err, row.version, row.want)
		}
		if err == nil && (len(res.EventUUIDs) != 1 || res.Position == 0) {
			t.Errorf("%s, expected %v: got %+v", row.what, row.expected, res)
		}
	}
}

func TestAppendToAPlainBackendEndsWithTheContext(t *testing.T) {
	const name = "account-42"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &rival{Backend: plain{memory.New()}}
	var rounds int
	var again func(context.Context)
	again = func(context.Context) { // another always comes first
		if rounds++; rounds == 10 {
			cancel()
			return
		}
		if _, err := backend.Append(t.Context(), r.Backend, name, backend.AnyVersion(), []backend.UnsavedEvent{{EventType: "Opened"}}, uuid.Nil); err != nil {
			t.Error(err)
		}
		r.between = again
	}
	r.between = again
	_, err := backend.Append(ctx, r, name, backend.AnyVersion(), []backend.UnsavedEvent{{EventType: "Opened"}}, uuid.Nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got the error %v", err)
	}
}
