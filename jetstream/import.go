package jetstream

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// Import is as the function [backend.Import] says. Each append is fenced as one
// of Append's is; to an event stream that this process knows nothing of, and
// that may be new, it is sent as if it were, which is one round trip where it
// is. Appends to one event stream that come while another is under way are
// written together, as Append does.
//
// Where ctx has no deadline, [Config.Timeout] bounds each append that has to be
// repeated, and the import as a whole nothing.
func (b *Backend) Import(ctx context.Context, appends iter.Seq2[backend.StreamAppend, error], options backend.ImportOptions, correlationID uuid.UUID) (backend.ImportProgress, error) {
	options, err := options.Prepare()
	if err != nil {
		return backend.ImportProgress{}, err
	}
	if err := b.mayBegin(ctx); err != nil {
		return backend.ImportProgress{}, err
	}
	im := newImporter(b, options)
	go im.run(ctx)
	err = im.take(ctx, appends, correlationID)
	return im.end(ctx, err)
}

// maxWindow bounds the window of an import, whatever is asked for: for each
// append there is room in channels.
const maxWindow = 1 << 16

// importer is an import under way. Its caller's goroutine takes the appends and
// makes them ready, another sends them and hears what came of them; so an
// iterator that waits for something holds nothing up. What is not acknowledged
// at once goes on in a goroutine of its own.
type importer struct {
	b       *Backend
	options backend.ImportOptions
	told    time.Time // when Progress was called last
	taken   uint64    // how many appends there were to make

	room    chan struct{}     // one for each append under way
	items   chan *importItem  // closed after the last
	answers chan *importWrite // those that have one
	slow    chan slowAppend
	stopped chan struct{} // closed when no more are wanted
	ended   chan struct{} // closed when nothing is under way

	mu       sync.Mutex
	progress backend.ImportProgress
	failed   *backend.ImportError // the first of the appends that failed

	// Of the goroutine that sends:
	streams  map[string]*importStream // by subject; those that have appends under way
	underway map[*importWrite]struct{}
	slowly   int      // goroutines that are on their own
	events   []uint32 // of each append that is not done up to the first that isn't
	first    uint64   // the index of events[0]
}

// importItem is an append of an import.
type importItem struct {
	waiter
	target
	index uint64 // from 0
	cost  int    // how much room it takes
}

// importStream is an event stream with appends under way.
type importStream struct {
	target
	waiting []*importItem
	taken   int // how many of them are being written; 0: nobody writes to it
	most    int // how many go into a message, as far as is known
}

// slowAppend tells that so many of the next appends to an event stream have
// their outcomes.
type slowAppend struct {
	stream *importStream
	n      int
}

// importWrite is a group whose answer is waited for.
type importWrite struct {
	*group
	im     *importer
	stream *importStream
	token  uint64
	sent   time.Time
	answer *nats.Msg

	connection uint64 // as the ack of a write has them
	lastError  error

	v   verdict // what came of it
	err error
}

func (w *importWrite) receive(answer *nats.Msg) {
	w.answer = answer
	w.im.answers <- w // which has room for all
}

// check implements receiver. The goroutine that sends looks by itself.
func (w *importWrite) check() {}

func newImporter(b *Backend, options backend.ImportOptions) *importer {
	options.Window = min(options.Window, maxWindow)
	return &importer{
		b:        b,
		options:  options,
		told:     time.Now(),
		room:     make(chan struct{}, options.Window),
		items:    make(chan *importItem, options.Window),
		answers:  make(chan *importWrite, options.Window),
		slow:     make(chan slowAppend, options.Window),
		stopped:  make(chan struct{}),
		ended:    make(chan struct{}),
		streams:  make(map[string]*importStream),
		underway: make(map[*importWrite]struct{}),
	}
}

// take takes the appends, until there are no more, or no more are wanted, and
// waits for them. The error is that of appends, of one that can't be sent, or of
// ctx.
func (im *importer) take(ctx context.Context, appends iter.Seq2[backend.StreamAppend, error], correlationID uuid.UUID) error {
	// Also where appends panics.
	defer func() {
		close(im.items)
		im.await()
	}()
	for a, err := range appends {
		if err != nil {
			return err
		}
		item, err := im.prepare(a, im.taken, correlationID)
		if err != nil {
			return &backend.ImportError{Index: im.taken, StreamUUID: a.StreamUUID, Err: err}
		}
		for range item.cost {
			if !im.waitForRoom(ctx) {
				return ctx.Err()
			}
		}
		im.taken++
		im.items <- item
		im.tell()
	}
	return ctx.Err()
}

func (im *importer) prepare(a backend.StreamAppend, index uint64, correlationID uuid.UUID) (*importItem, error) {
	subject, err := im.b.subjects.Subject(a.StreamUUID)
	if err != nil {
		return nil, err
	}
	made, err := newAppendage(a.StreamUUID, a.Expected, a.Events, correlationID)
	if err != nil {
		return nil, err
	}
	if err := wire.CheckEvents(made.events, im.b.limits()); err != nil {
		return nil, err
	}
	window := int64(im.options.Window)
	return &importItem{
		waiter: waiter{append: made},
		target: target{uuid: a.StreamUUID, subject: subject},
		index:  index,
		cost:   int(min(1+int64(made.bytes())*window/maxUnderway, window)),
	}, nil
}

// waitForRoom reports whether there is room for another append, and another is
// wanted.
func (im *importer) waitForRoom(ctx context.Context) bool {
	select {
	case <-im.stopped:
		return false
	default:
	}
	if ctx.Err() != nil {
		return false
	}
	select {
	case im.room <- struct{}{}:
		return true
	default:
	}
	ticker := time.NewTicker(im.options.ProgressEvery)
	defer ticker.Stop()
	for {
		select {
		case im.room <- struct{}{}:
			return true
		case <-im.stopped:
			return false
		case <-ctx.Done():
			return false
		case <-ticker.C:
			im.tell()
		}
	}
}

// await waits until nothing is under way.
func (im *importer) await() {
	defer func() { <-im.ended }() // also where Progress panics
	ticker := time.NewTicker(im.options.ProgressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-im.ended:
			return
		case <-ticker.C:
			im.tell()
		}
	}
}

// tell calls Progress where it is time.
func (im *importer) tell() {
	if im.options.Progress == nil || time.Since(im.told) < im.options.ProgressEvery {
		return
	}
	im.mu.Lock()
	progress := im.progress
	im.mu.Unlock()
	im.told = time.Now()
	im.options.Progress(progress)
}

func (im *importer) end(ctx context.Context, err error) (backend.ImportProgress, error) {
	if im.options.Progress != nil {
		im.options.Progress(im.progress)
	}
	if im.failed != nil {
		return im.progress, im.failed
	}
	if err == nil && im.progress.Appends < im.taken {
		err = ctx.Err() // by which the others were left, after all were taken
	}
	return im.progress, err
}

// fail notes that an append failed, and that no more are wanted.
func (im *importer) fail(err *backend.ImportError) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.failed == nil {
		close(im.stopped)
	}
	if im.failed == nil || err.Index < im.failed.Index {
		im.failed = err
	}
}

func (im *importer) hasFailed() bool {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.failed != nil
}
