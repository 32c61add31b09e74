package backend_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/backend/memory"
)

func TestImportOptionsPrepare(t *testing.T) {
	for _, row := range []struct{ given, want backend.ImportOptions }{
		{backend.ImportOptions{}, backend.ImportOptions{Window: backend.DefaultImportWindow, ProgressEvery: time.Second}},
		{backend.ImportOptions{Window: 1, ProgressEvery: 1}, backend.ImportOptions{Window: 1, ProgressEvery: 1}},
		{backend.ImportOptions{Window: 10_000}, backend.ImportOptions{Window: 10_000, ProgressEvery: time.Second}},
	} {
		got, err := row.given.Prepare()
		if err != nil || got.Window != row.want.Window || got.ProgressEvery != row.want.ProgressEvery || got.Progress != nil {
			t.Errorf("%+v became %+v, want %+v, and the error %v", row.given, got, row.want, err)
		}
	}
	called := false
	got, err := backend.ImportOptions{Progress: func(backend.ImportProgress) { called = true }}.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	if got.Progress(backend.ImportProgress{}); !called {
		t.Error("Progress is another")
	}
	for _, o := range []backend.ImportOptions{{Window: -1}, {ProgressEvery: -time.Nanosecond}, {Window: -1, ProgressEvery: -1}} {
		if _, err := o.Prepare(); !errors.Is(err, backend.ErrInvalidArgument) {
			t.Errorf("%+v: error %v, want ErrInvalidArgument", o, err)
		}
	}
}

func TestImportErrorTellsWhichAppendFailedAndWhy(t *testing.T) {
	cause := &backend.WrongExpectedVersionError{StreamUUID: "account-42", Expected: backend.ExactVersion(3), Actual: 5}
	var err error = &backend.ImportError{Index: 1234, StreamUUID: "account-42", Err: cause}
	for _, part := range []string{"1234", `"account-42"`, cause.Error()} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q doesn't tell of %s", err, part)
		}
	}
	wrong, ok := errors.AsType[*backend.WrongExpectedVersionError](err)
	if !ok || wrong != cause || !errors.Is(err, backend.ErrWrongExpectedVersion) {
		t.Errorf("%v is not its cause", err)
	}
}

// importer is a backend that imports by itself.
type importer struct {
	backend.Backend
	options backend.ImportOptions
}

func (i *importer) Import(_ context.Context, _ iter.Seq2[backend.StreamAppend, error], options backend.ImportOptions, _ uuid.UUID) (backend.ImportProgress, error) {
	i.options = options
	return backend.ImportProgress{Appends: 7}, errors.ErrUnsupported
}

func TestImportLeavesItToAnImporter(t *testing.T) {
	b := &importer{Backend: memory.New()}
	got, err := backend.Import(t.Context(), b, nil, backend.ImportOptions{Window: 3}, uuid.Nil)
	if got.Appends != 7 || !errors.Is(err, errors.ErrUnsupported) || b.options.Window != 3 {
		t.Errorf("got %+v, %v, with %+v", got, err, b.options)
	}
}
