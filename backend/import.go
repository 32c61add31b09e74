package backend

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
)

// DefaultImportWindow is how many appends an [Import] has under way at most
// where nothing else is asked for.
const DefaultImportWindow = 512

// StreamAppend is an append to an event stream, with the arguments of [Append].
type StreamAppend struct {
	StreamUUID string
	Expected   ExpectedVersion // the zero value is [AnyVersion]
	Events     []UnsavedEvent  // not to be changed until the import has returned
}

// ImportOptions are the options of [Import]. The zero value works.
type ImportOptions struct {
	// Window is how many appends are under way at most. 0:
	// [DefaultImportWindow].
	Window int

	// Progress is told how far the import has come: once in a while, and a last
	// time before Import returns. It is called in the goroutine that called
	// Import, and holds it up. nil: nobody is told.
	Progress func(ImportProgress)

	// ProgressEvery is the least time between two calls of Progress, the last
	// apart. 0: a second.
	ProgressEvery time.Duration
}

// ImportProgress is how far an [Import] has come.
type ImportProgress struct {
	// Appends is how many appends are done, counted from the first without a gap:
	// the import can be taken up again after them.
	Appends uint64

	// Events is how many events those appends had.
	Events uint64
}

// ImportError is the error of an [Import] whose append could not be done.
type ImportError struct {
	Index      uint64 // of the append, counted from 0
	StreamUUID string
	Err        error // as [Append] returns it
}

func (e *ImportError) Error() string {
	return fmt.Sprintf("append %d of the import, to %q: %v", e.Index, e.StreamUUID, e.Err)
}

// Unwrap returns the append's error.
func (e *ImportError) Unwrap() error { return e.Err }

// Importer is the capability to import with many appends under way at a time.
// Use it through [Import].
type Importer interface {
	// Import is as the function [Import] says.
	Import(ctx context.Context, appends iter.Seq2[StreamAppend, error], options ImportOptions, correlationID uuid.UUID) (ImportProgress, error)
}

// Import makes many appends, to any number of event streams, as [Append] makes
// one: all of its events or none, where the event stream is as expected. It is
// for loading a history from elsewhere. Many are under way at a time, so that
// their order is kept within an event stream, and not among event streams.
//
// An append that fails ends the import: no more are started, those under way
// are waited for, and an [*ImportError] names the first that failed. Others may
// be stored by then, after it in order too, but none after it in its event
// stream. An append that is refused before anything is sent, an error that appends
// yields, which is returned as it is, and the end of ctx end it, too; with the
// first two, what came before is done. Whatever the end, the
// result says how many appends from the first on are done. An import can be
// repeated, from the beginning or from there: with event ids, and with exact
// versions or else within the bounds that [Append] names, what is stored
// already is not stored again.
//
// What the iterator yields must not be changed before Import returns.
//
// Appends to one event stream may be written together, and then share their
// position. On a Backend that is no [Importer] the appends are made one after the other.
//
// It returns [ErrInvalidArgument] for a negative option.
func Import(ctx context.Context, b Backend, appends iter.Seq2[StreamAppend, error], options ImportOptions, correlationID uuid.UUID) (ImportProgress, error) {
	if i, ok := b.(Importer); ok {
		return i.Import(ctx, appends, options, correlationID)
	}
	options, err := options.Prepare()
	if err != nil {
		return ImportProgress{}, err
	}
	done, err := importEach(ctx, b, appends, options, correlationID)
	if options.Progress != nil {
		options.Progress(done)
	}
	return done, err
}

func importEach(ctx context.Context, b Backend, appends iter.Seq2[StreamAppend, error], options ImportOptions, correlationID uuid.UUID) (done ImportProgress, err error) {
	told := time.Now()
	for a, err := range appends {
		if err != nil {
			return done, err
		}
		if _, err := Append(ctx, b, a.StreamUUID, a.Expected, a.Events, correlationID); err != nil {
			return done, &ImportError{Index: done.Appends, StreamUUID: a.StreamUUID, Err: err}
		}
		done.Appends++
		done.Events += uint64(len(a.Events))
		if options.Progress != nil && time.Since(told) >= options.ProgressEvery {
			told = time.Now()
			options.Progress(done)
		}
	}
	return done, nil
}

// Prepare returns the options with their defaults filled in, for an
// [Importer]. It returns [ErrInvalidArgument] for a negative one.
func (o ImportOptions) Prepare() (ImportOptions, error) {
	switch {
	case o.Window < 0:
		return o, fmt.Errorf("%w: window %d, must be 0 or more", ErrInvalidArgument, o.Window)
	case o.ProgressEvery < 0:
		return o, fmt.Errorf("%w: progress every %v, must be 0 or more", ErrInvalidArgument, o.ProgressEvery)
	case o.Window == 0:
		o.Window = DefaultImportWindow
	}
	if o.ProgressEvery == 0 {
		o.ProgressEvery = time.Second
	}
	return o, nil
}
