package jetstream

import (
	"context"
	"errors"
	"iter"
	"slices"
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
	options, err := options.WithDefaults()
	if err != nil {
		return backend.ImportProgress{}, err
	}
	_, cancel, err := b.begin(ctx)
	if err != nil {
		return backend.ImportProgress{}, err
	}
	cancel()
	im := newImporter(b, options)
	go im.run(ctx)
	err = im.take(ctx, appends, correlationID)
	return im.end(err)
}

// importer is an import under way. Its caller's goroutine takes the appends and
// makes them ready, another sends them and hears what came of them; so an
// iterator that waits for something holds nothing up. What is not acknowledged
// at once goes on in a goroutine of its own.
type importer struct {
	b       *Backend
	options backend.ImportOptions
	told    time.Time // when Progress was called last

	room    chan struct{}     // one for each append under way
	items   chan *importItem  // closed after the last
	answers chan *importWrite // those that have one
	slow    chan *importStream
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
}

// importWrite is an attempt whose answer is waited for.
type importWrite struct {
	*attempt
	im     *importer
	stream *importStream
	token  uint64
	sent   time.Time
	answer *nats.Msg
	v      verdict // what came of it
	err    error
}

func (w *importWrite) receive(answer *nats.Msg) {
	w.answer = answer
	w.im.answers <- w // which has room for all
}

func newImporter(b *Backend, options backend.ImportOptions) *importer {
	return &importer{
		b:        b,
		options:  options,
		told:     time.Now(),
		room:     make(chan struct{}, options.Window),
		items:    make(chan *importItem, options.Window),
		answers:  make(chan *importWrite, options.Window),
		slow:     make(chan *importStream, options.Window),
		stopped:  make(chan struct{}),
		ended:    make(chan struct{}),
		streams:  make(map[string]*importStream),
		underway: make(map[*importWrite]struct{}),
	}
}

// take takes the appends, until there are no more, or no more are wanted. The
// error is that of appends, or of ctx.
func (im *importer) take(ctx context.Context, appends iter.Seq2[backend.StreamAppend, error], correlationID uuid.UUID) error {
	// Also where appends panics.
	defer func() {
		close(im.items)
		im.await()
	}()
	index := uint64(0)
	for a, err := range appends {
		if err != nil {
			return err
		}
		item, err := im.prepare(a, index, correlationID)
		if err != nil {
			im.fail(&backend.ImportError{Index: index, StreamUUID: a.StreamUUID, Err: err})
			return nil
		}
		index++
		for range item.cost {
			if !im.waitForRoom(ctx) {
				return ctx.Err()
			}
		}
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
	size := 0
	for i := range a.Events {
		size += len(a.Events[i].Data) + len(a.Events[i].Metadata)
	}
	return &importItem{
		waiter: waiter{append: made},
		target: target{uuid: a.StreamUUID, subject: subject},
		index:  index,
		cost:   min(1+size*im.options.Window/maxUnderway, im.options.Window),
	}, nil
}

// waitForRoom reports whether there is room for another append, and another is
// wanted.
func (im *importer) waitForRoom(ctx context.Context) bool {
	select {
	case <-im.stopped:
		return false
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
	im.options.Progress(progress)
	im.told = time.Now()
}

func (im *importer) end(err error) (backend.ImportProgress, error) {
	if im.options.Progress != nil {
		im.options.Progress(im.progress)
	}
	if im.failed != nil {
		return im.progress, im.failed
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

// run sends the appends that it gets, and ends when there are no more and
// nothing is under way.
func (im *importer) run(ctx context.Context) {
	defer close(im.ended)
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	connection := im.b.nc.Stats().Reconnects
	items, done := im.items, ctx.Done()
	for items != nil || len(im.underway) > 0 || im.slowly > 0 {
		select {
		case item, ok := <-items:
			if !ok {
				items = nil
				continue
			}
			im.add(ctx, item)
		case w := <-im.answers:
			im.answered(ctx, w)
		case s := <-im.slow:
			im.slowly--
			im.settle(ctx, s)
		case <-ticker.C:
			now := im.b.nc.Stats().Reconnects
			im.giveUp(ctx, now != connection || !im.b.nc.IsConnected())
			connection = now
		case <-done:
			im.giveUp(ctx, true)
			done = nil
		}
	}
}

func (im *importer) add(ctx context.Context, item *importItem) {
	im.events = append(im.events, 0)
	s := im.streams[item.subject]
	if s == nil {
		s = &importStream{target: item.target}
		im.streams[item.subject] = s
	}
	s.waiting = append(s.waiting, item)
	if s.taken == 0 {
		im.next(ctx, s)
	}
}

// next goes on with an event stream that nobody writes to.
func (im *importer) next(ctx context.Context, s *importStream) {
	if ctx.Err() != nil || im.hasFailed() {
		for _, item := range s.waiting {
			im.leave(item)
		}
		s.waiting = nil
	}
	switch {
	case len(s.waiting) == 0:
		delete(im.streams, s.subject)
	case !im.b.queues.enterFree(s.subject): // others of this process write to it, too
		im.goOn(ctx, s, 1, nil, false)
	default:
		im.send(ctx, s)
	}
}

// send sends as many of the appends to an event stream as go together, where it
// takes no more than that.
func (im *importer) send(ctx context.Context, s *importStream) {
	a := im.attempt(ctx, s)
	if a == nil {
		im.goOn(ctx, s, 1, nil, true)
		return
	}
	w := &importWrite{attempt: a, im: im, stream: s, sent: time.Now()}
	w.token, w.v, w.err = im.b.send(ctx, &a.write, w)
	if w.err != nil {
		im.goOn(ctx, s, len(a.group.planned), w, true)
		return
	}
	s.taken = len(a.group.planned)
	im.underway[w] = struct{}{}
}

// attempt makes ready to write as many of the appends to an event stream as go
// together; nil: it takes a request to tell what becomes of the first.
func (im *importer) attempt(ctx context.Context, s *importStream) *attempt {
	h := im.b.heads.get(s.subject)
	if h == nil {
		expected := s.waiting[0].append.expected
		if version, ok := expected.Exact(); ok && version > 0 || expected == backend.StreamExists() {
			return nil
		}
		h = &head{} // a guess, which the fence corrects
	}
	members := im.members(s, maxGroup)
	for _, w := range members {
		if len(w.append.events) == 0 || w.append.looksBack(h) {
			return nil
		}
	}
	g, err := im.b.plan(ctx, s.target, h, false, members, maxGroupEvents)
	if err != nil || g.writers == 0 {
		return nil
	}
	for i := range g.planned {
		if g.planned[i].err != nil {
			return nil // nothing must be written after what fails
		}
	}
	a, err := im.b.attempt(s.target, h, g)
	if err != nil {
		return nil
	}
	return a
}

// members returns the next appends to an event stream that may be written
// together, n at most.
func (im *importer) members(s *importStream, n int) []*waiter {
	if !im.b.queues.group {
		n = 1
	}
	members := make([]*waiter, min(n, len(s.waiting)))
	for i := range members {
		members[i] = &s.waiting[i].waiter
	}
	return members
}

// answered goes on after the server's answer to an attempt.
func (im *importer) answered(ctx context.Context, w *importWrite) {
	delete(im.underway, w)
	var position uint64
	if position, w.v, w.err = im.b.judge(w.answer, &w.write); w.v != vStored {
		im.goOn(ctx, w.stream, w.stream.taken, w, true)
		return
	}
	im.b.stored(w.attempt, position)
	im.b.unlock(w.target)
	for i := range w.group.planned {
		w.stream.waiting[i].outcome = w.group.planned[i].appendOutcome
	}
	im.settle(ctx, w.stream)
}

// giveUp goes on with the attempts that have waited long enough, or with all.
func (im *importer) giveUp(ctx context.Context, all bool) {
	for w := range im.underway {
		if !all && time.Since(w.sent) < im.b.cfg.RequestTimeout || !im.b.acks.forget(w.token) {
			continue
		}
		delete(im.underway, w)
		w.v, w.err = vUnknown, im.b.explain(w.subject, nats.ErrTimeout)
		im.goOn(ctx, w.stream, w.stream.taken, w, true)
	}
}

// settle takes those of the appends to an event stream that have their outcomes,
// and goes on with the others.
func (im *importer) settle(ctx context.Context, s *importStream) {
	for _, item := range s.waiting[:s.taken] {
		switch err := item.outcome.err; {
		case err == nil:
			im.done(item)
		case !errors.Is(err, errNotStarted):
			im.fail(&backend.ImportError{Index: item.index, StreamUUID: item.uuid, Err: err})
		}
		im.leave(item)
	}
	s.waiting = slices.Delete(s.waiting, 0, s.taken)
	s.taken = 0
	im.next(ctx, s)
}

// leave makes room for others.
func (im *importer) leave(item *importItem) {
	for range item.cost {
		<-im.room
	}
}

// done counts an append that is done.
func (im *importer) done(item *importItem) {
	im.events[item.index-im.first] = 1 + uint32(len(item.append.events))
	n := 0
	im.mu.Lock()
	for n < len(im.events) && im.events[n] > 0 {
		im.progress.Appends++
		im.progress.Events += uint64(im.events[n] - 1)
		n++
	}
	im.mu.Unlock()
	im.events = im.events[n:]
	im.first += uint64(n)
}

// goOn goes on with the next n appends to an event stream in a goroutine of its
// own: it takes longer. begun, if not nil, is a first attempt to write them, that
// was not acknowledged; turn tells that the event stream's turn is there.
func (im *importer) goOn(ctx context.Context, s *importStream, n int, begun *importWrite, turn bool) {
	members := im.members(s, n)
	s.taken = len(members)
	im.slowly++
	go func() {
		im.appendSlowly(ctx, s.target, members, begun, turn)
		im.slow <- s
	}()
}

// appendSlowly appends for members, and gives each its outcome. After one that
// fails, nothing is written.
func (im *importer) appendSlowly(ctx context.Context, t target, members []*waiter, begun *importWrite, turn bool) {
	b := im.b
	ctx, cancel := b.bound(ctx)
	defer cancel()
	failAll := func(members []*waiter, err error) {
		for _, w := range members {
			w.settle(ctx, appendOutcome{err: err})
		}
	}
	if !turn {
		if err := b.lock(ctx, t); err != nil {
			failAll(members, unavailable(ctx, err))
			return
		}
	}
	defer b.unlock(t)
	if begun != nil {
		position, err := b.insist(ctx, &begun.write, begun.v, begun.err)
		switch {
		case err == nil:
			b.stored(begun.attempt, position)
			for i, w := range members {
				w.outcome = begun.group.planned[i].appendOutcome
			}
			return
		case errors.Is(err, errUnfinished):
			begun.group.doubt(members)
		case !errors.Is(err, errConflict) && !errors.Is(err, errInFlight):
			failAll(members, err)
			return
		}
	}
	for i, w := range members {
		if len(w.append.events) == 0 {
			w.outcome.res, w.outcome.err = b.appendNothing(ctx, t, w.append)
		} else {
			b.appendTogether(ctx, t, members[i:i+1])
		}
		if w.outcome.err != nil {
			failAll(members[i+1:], errNotStarted)
			return
		}
	}
}
