package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// How an import stores every change exactly once, however often it is killed,
// repeated, or run twice at the same time:
//
// The id of an event follows from its commit and path, so every run gives the
// same change the same id. Before the walk, an import reads which ids are
// stored, and up to which version of each event stream it knows them. It
// appends a change only if its id is not among them, and only at the next
// version. Where that append succeeds, nothing was in the event stream but what
// the import knew, so the change was not; or someone else has just stored the
// same change at that version, which its id tells. Where it does not, someone
// else came first with another: the import begins anew with what is stored by
// then.
//
// A checkpoint would not do: a kill may come between an append and the checkpoint
// after it. Nor would comparing the number of stored events with the place of
// a change in the walk: a branch that is merged later brings commits into the
// walk before others that are stored already.

// importer stores the changes of one repository.
type importer struct {
	backend    backend.Backend
	repository *repository
	progress   *progress

	// What an import saw in git.
	walked  int64 // entries, as git lists them
	renames int64 // how many of these are renames, an event of two paths

	// foreign are the ids of stored events that are of no commit in this
	// history.
	foreign map[uuid.UUID]struct{}
}

// run stores what is not stored yet.
func (im *importer) run(ctx context.Context) error {
	for {
		err := im.once(ctx)
		wrong, ok := errors.AsType[*backend.WrongExpectedVersionError](err)
		if !ok {
			return err
		}
		if known, _ := wrong.Expected.Exact(); wrong.Actual <= known {
			return fmt.Errorf("an event stream is shorter than it was: %w", err)
		}
	}
}

// once is run, until someone else comes first.
func (im *importer) once(ctx context.Context) error {
	im.walked, im.renames = 0, 0
	files, err := im.stored(ctx)
	if err != nil {
		return err
	}
	p := im.progress.begin()
	_, err = backend.Import(ctx, im.backend, im.missing(ctx, files, p), backend.ImportOptions{
		Progress:      func(done backend.ImportProgress) { p.done(done) },
		ProgressEvery: time.Millisecond, // what is displayed is looked at less often
	}, uuid.Nil)
	if err != nil {
		return fmt.Errorf("storing changes: %w", err)
	}
	im.foreign = map[uuid.UUID]struct{}{}
	for _, f := range files {
		for id := range f.stored {
			im.foreign[id] = struct{}{}
		}
	}
	return nil
}

// file is what an import knows of an event stream.
type file struct {
	// version is that of the last event known, or on its way.
	version uint64

	// stored are the ids of the events that were there before, less those that
	// the walk has come to: each is needed once, and what is left at the end is of
	// no commit in the history.
	stored map[uuid.UUID]struct{}
}

// files are the event streams of a repository, by name.
type files map[string]*file

func (fs files) file(stream string) *file {
	f := fs[stream]
	if f == nil {
		f = &file{}
		fs[stream] = f
	}
	return f
}

// stored reads what is stored already.
func (im *importer) stored(ctx context.Context) (files, error) {
	fs := files{}
	im.progress.indexed.Store(0)
	im.progress.walking.Store(false)
	options := backend.ReadAllOptions{Under: repositoryPrefix(im.repository.key()), BatchSize: 2000}
	for events, err := range backend.ReadAll(ctx, im.backend, options, uuid.Nil) {
		if err != nil {
			return nil, fmt.Errorf("reading what is stored: %w", err)
		}
		for _, e := range events {
			if err := fs.file(e.StreamUUID).add(e); err != nil {
				return nil, err
			}
		}
		im.progress.indexed.Add(int64(len(events)))
	}
	im.progress.walking.Store(true)
	return fs, nil
}

// add takes notice of the next event.
func (f *file) add(e backend.RecordedEvent) error {
	if e.StreamVersion != f.version+1 {
		return fmt.Errorf("event stream %q has version %d after %d: it was truncated, so what is missing can't be told",
			e.StreamUUID, e.StreamVersion, f.version)
	}
	f.version = e.StreamVersion
	if f.stored == nil {
		f.stored = map[uuid.UUID]struct{}{}
	}
	f.stored[e.EventUUID] = struct{}{}
	return nil
}

// missing walks the history and yields appends of the changes that are not
// stored.
func (im *importer) missing(ctx context.Context, fs files, p *round) iter.Seq2[backend.StreamAppend, error] {
	return func(yield func(backend.StreamAppend, error) bool) {
		for c, err := range im.repository.walk(ctx) {
			if err != nil {
				yield(backend.StreamAppend{}, fmt.Errorf("reading the history: %w", err))
				return
			}
			all, err := im.repository.changes(c)
			if err != nil {
				yield(backend.StreamAppend{}, err)
				return
			}
			im.walked += int64(len(c.entries))
			for _, e := range c.entries {
				if e.status == 'R' {
					im.renames++
				}
			}
			for _, ch := range all {
				f := fs.file(ch.stream)
				if _, ok := f.stored[ch.event.EventUUID]; ok {
					delete(f.stored, ch.event.EventUUID)
					p.found()
					continue
				}
				a := backend.StreamAppend{StreamUUID: ch.stream, Expected: backend.ExactVersion(f.version), Events: []backend.UnsavedEvent{ch.event}}
				f.version++
				p.appending++
				if !yield(a, nil) {
					return
				}
			}
			p.endCommit()
		}
	}
}
