package durable

import (
	"slices"
	"time"

	"github.com/tributary-es/tributary/backend"
)

// work is the commits that a member has been given, in a lane for each event
// stream. It belongs to the goroutine of the term.
type work struct {
	t        *term
	lanes    map[string]*lane // by event stream
	runnable []*lane          // those whose first item can be started, the oldest first
	running  int              // handlers
	begun    int              // items that a goroutine is at, which also waits for a repetition
	inFlight int              // items in lanes
	results  chan result
}

// lane is what there is to do for an event stream, in order. Its first item may
// be begun; others are not.
type lane struct {
	stream string
	items  []*item
}

// item is a commit to be handled, or a request to be carried out.
type item struct {
	commit  backend.Commit
	request *request // nil: it is a commit
	part    *ownership
	lane    *lane
	parked  *parkedEvent // how the commit is to be parked; nil: it is not
	waiting bool         // for its repetition
	dropped bool         // meanwhile: its partition is given up
	done    bool
}

// result is what became of an item.
type result struct {
	item  *item
	err   error
	stack string // where the handler panicked; empty: it didn't
	woken bool   // it waited, and is to be begun again
	held  bool   // of a request: whether the event stream still has to wait
}

func (w *work) init(t *term) {
	w.t, w.lanes, w.results = t, make(map[string]*lane), make(chan result)
}

// add adds an item behind those of its event stream.
func (w *work) add(it *item) {
	l := w.lanes[it.commit.StreamUUID]
	if l == nil {
		l = &lane{stream: it.commit.StreamUUID}
		w.lanes[l.stream] = l
		w.runnable = append(w.runnable, l)
	}
	it.lane = l
	l.items = append(l.items, it)
	w.inFlight++
}

// start starts as many items as may run at a time.
func (w *work) start() {
	for w.running < w.t.options.Concurrency && len(w.runnable) > 0 {
		l := w.runnable[0]
		w.runnable = w.runnable[1:]
		it := l.items[0]
		if first, held := w.t.held[l.stream]; held && it.request == nil && it.parked == nil && it.commit.Position >= first {
			it.parked = w.t.parkedEvent(it.commit, result{err: errBehind})
		}
		w.running++
		w.begun++
		it.part.running++
		d := w.t.doc
		go func() {
			r := result{item: it, err: errExited} // where the handler ends its goroutine
			defer func() { w.results <- r }()
			r = w.t.do(it, d)
		}()
	}
}

// again has an item be begun once more after a wait.
func (w *work) again(it *item, wait time.Duration) {
	w.begun++
	it.waiting = true
	go func() {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-w.t.ctx.Done():
		}
		w.results <- result{item: it, woken: true}
	}()
}

// ended notes that a goroutine is no longer at an item.
func (w *work) ended(r result) {
	w.begun--
	if r.woken {
		r.item.waiting = false
	} else {
		w.running--
		r.item.part.running--
	}
}

// complete takes the first item, which is dealt with, out of its lane.
func (w *work) complete(it *item) {
	if it.request == nil { // others aren't among the pending
		it.part.deal(it)
	}
	w.inFlight--
	l := it.lane
	l.items = l.items[1:]
	if len(l.items) > 0 {
		w.runnable = append(w.runnable, l)
	} else {
		delete(w.lanes, l.stream)
	}
}

// abandon drops an item that is not dealt with, the only one of its lane.
func (w *work) abandon(it *item) {
	it.dropped = true
	w.inFlight--
	delete(w.lanes, it.lane.stream)
}

// drop drops the items of a partition that are not running. What is running and
// fails is for [work.abandon].
func (w *work) drop(o *ownership) {
	runnable := make(map[*lane]bool, len(w.runnable))
	for _, l := range w.runnable {
		runnable[l] = true
	}
	for stream, l := range w.lanes {
		first := l.items[0]
		if first.part != o {
			continue
		}
		if !runnable[l] && !first.waiting {
			w.inFlight -= len(l.items) - 1
			l.items = l.items[:1] // it is running
			continue
		}
		first.dropped = true
		w.inFlight -= len(l.items)
		delete(w.lanes, stream)
	}
	w.runnable = slices.DeleteFunc(w.runnable, func(l *lane) bool { return l.items[0].part == o })
}

// drain waits until no goroutine is at an item.
func (w *work) drain() {
	for w.begun > 0 {
		r := <-w.results
		w.ended(r)
		if !r.woken && r.err == nil {
			r.item.done = true // although the term has ended
		}
	}
}
