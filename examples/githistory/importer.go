package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

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
// the import knew, so the change was not. Where it does not, someone else came
// first: the import reads what he stored, and decides again.
//
// A checkpoint would not do: a kill may come between an append and the checkpoint
// after it. Nor would comparing the number of stored events with the place of
// a change in the walk: a branch that is merged later brings commits into the
// walk before others that are stored already.

const (
	// workers is how many appends are in flight. The changes of one file all go
	// to the same worker, which stores them in order.
	workers = 48

	// queued is how many changes may wait for one worker; with no limit, the
	// whole history would wait in memory for the disk.
	queued = 512

	// batch is how many changes of one file an append takes at most. Their
	// metadata has to fit into the headers of one message, 64 KiB.
	batch = 48
)

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
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	pool, err := im.workers(ctx)
	if err != nil {
		return err
	}
	im.progress.walking.Store(true)
	var wg sync.WaitGroup
	for _, w := range pool {
		wg.Go(func() {
			if err := w.run(ctx); err != nil {
				cancel(err) // the others, and the walk, need not go on
			}
		})
	}
	err = im.feed(ctx, pool)
	for _, w := range pool {
		close(w.queue)
	}
	if err != nil {
		cancel(err)
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx) // what failed first; the rest followed from it
	}
	im.foreign = map[uuid.UUID]struct{}{}
	for _, w := range pool {
		for _, f := range w.files {
			for id := range f.stored {
				im.foreign[id] = struct{}{}
			}
		}
	}
	return nil
}

// workers makes the workers, with what is stored already.
func (im *importer) workers(ctx context.Context) ([]*worker, error) {
	pool := make([]*worker, workers)
	for i := range pool {
		pool[i] = &worker{
			backend:  im.backend,
			progress: im.progress,
			queue:    make(chan change, queued),
			files:    map[string]*file{},
		}
	}
	options := backend.ReadAllOptions{Under: repositoryPrefix(im.repository.key()), BatchSize: 2000}
	for events, err := range backend.ReadAll(ctx, im.backend, options, uuid.Nil) {
		if err != nil {
			return nil, fmt.Errorf("reading what is stored: %w", err)
		}
		for _, e := range events {
			if err := pool[workerOf(e.StreamUUID)].file(e.StreamUUID).add(e); err != nil {
				return nil, err
			}
		}
		im.progress.indexed.Add(int64(len(events)))
	}
	return pool, nil
}

// feed walks the history and hands every change to the worker of its file.
func (im *importer) feed(ctx context.Context, pool []*worker) error {
	for c, err := range im.repository.walk(ctx) {
		if err != nil {
			return fmt.Errorf("reading the history: %w", err)
		}
		all, err := im.repository.changes(c)
		if err != nil {
			return err
		}
		im.walked += int64(len(c.entries))
		for _, e := range c.entries {
			if e.status == 'R' {
				im.renames++
			}
		}
		commit := im.progress.begin(len(all))
		for _, ch := range all {
			ch.commit = commit
			select {
			case pool[workerOf(ch.stream)].queue <- ch:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

func workerOf(stream string) int {
	return int(crc32.ChecksumIEEE([]byte(stream)) % workers)
}

// worker stores the changes of some of the files, each file's in order.
type worker struct {
	backend  backend.Backend
	progress *progress
	queue    chan change
	files    map[string]*file // by the name of the event stream
}

// file is what a worker knows of an event stream.
type file struct {
	// version is that of the last event known.
	version uint64

	// stored are the ids of the events up to version, less those that the walk
	// has come to: each is needed once, and what is left at the end is of no
	// commit in the history.
	stored map[uuid.UUID]struct{}
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

func (w *worker) file(stream string) *file {
	f := w.files[stream]
	if f == nil {
		f = &file{}
		w.files[stream] = f
	}
	return f
}

// run stores changes until the queue is closed. It takes those that wait all at
// once, so that several changes of one file become one append.
func (w *worker) run(ctx context.Context) error {
	for ch := range w.queue {
		var streams []string // in the order of their first change
		waiting := map[string][]change{}
		for n, more := 1, true; more; n++ {
			if waiting[ch.stream] == nil {
				streams = append(streams, ch.stream)
			}
			waiting[ch.stream] = append(waiting[ch.stream], ch)
			if n == queued {
				break // the walk may be faster than this loop
			}
			select {
			case ch, more = <-w.queue:
			default:
				more = false
			}
		}
		for _, stream := range streams {
			if err := w.store(ctx, stream, waiting[stream]); err != nil {
				return err
			}
		}
	}
	return nil
}

// store stores those changes of one file that are not stored yet.
func (w *worker) store(ctx context.Context, stream string, changes []change) error {
	f := w.file(stream)
	for {
		changes = w.missing(f, changes)
		if len(changes) == 0 {
			return nil
		}
		some := changes[:min(len(changes), batch)]
		events := make([]backend.UnsavedEvent, len(some))
		for i, ch := range some {
			events[i] = ch.event
		}
		res, err := backend.Append(ctx, w.backend, stream, backend.ExactVersion(f.version), events, uuid.Nil)
		switch {
		case err == nil:
			f.version = res.Version
			for _, ch := range some {
				ch.commit.settle()
			}
			w.progress.appended.Add(int64(len(some)))
			changes = changes[len(some):]
		case errors.Is(err, backend.ErrWrongExpectedVersion):
			if catchUpErr := w.catchUp(ctx, stream, f); catchUpErr != nil {
				return fmt.Errorf("%w, after %w", catchUpErr, err)
			}
		default:
			return fmt.Errorf("storing changes: %w", err)
		}
	}
}

// missing settles the changes that are stored and returns the others.
func (w *worker) missing(f *file, changes []change) []change {
	var left []change
	for _, ch := range changes {
		if _, ok := f.stored[ch.event.EventUUID]; !ok {
			left = append(left, ch)
			continue
		}
		delete(f.stored, ch.event.EventUUID)
		ch.commit.settle()
		w.progress.known.Add(1)
	}
	return left
}

// catchUp reads what another process has stored since.
func (w *worker) catchUp(ctx context.Context, stream string, f *file) error {
	const limit = 500
	before := f.version
	for {
		events, err := w.backend.ReadStream(ctx, stream, f.version+1, limit, uuid.Nil)
		if err != nil {
			return fmt.Errorf("reading what another process stored: %w", err)
		}
		for _, e := range events {
			if err := f.add(e); err != nil {
				return err
			}
		}
		if len(events) < limit {
			break
		}
	}
	if f.version == before {
		// Such as an event stream that is shorter than it was.
		return errors.New("no other process stored anything")
	}
	return nil
}
