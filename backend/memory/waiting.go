package memory

import "sync"

// waitingFor holds those who wait for commits, by the event stream that they wait
// for; "" is any. So an append wakes nobody whom it does not concern, however many
// wait.
type waitingFor struct {
	mu sync.Mutex
	of map[string]*waiters
}

// waiters are those who wait for the same.
type waiters struct {
	commit chan struct{} // closed when it came
	n      int           // of those who are waiting, guarded by waitingFor.mu
}

// join makes the caller one of those who wait for a commit to an event stream.
func (f *waitingFor) join(streamUUID string) *waiters {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok := f.of[streamUUID]
	if !ok {
		w = &waiters{commit: make(chan struct{})}
		if f.of == nil {
			f.of = make(map[string]*waiters)
		}
		f.of[streamUUID] = w
	}
	w.n++
	return w
}

// leave takes the caller out of w.
func (f *waitingFor) leave(streamUUID string, w *waiters) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.n--; w.n == 0 && f.of[streamUUID] == w {
		delete(f.of, streamUUID)
	}
}

// wake wakes those who wait for a commit to an event stream, and those who wait
// for any.
func (f *waitingFor) wake(streamUUID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range []string{streamUUID, ""} {
		if w, ok := f.of[name]; ok {
			close(w.commit)
			delete(f.of, name)
		}
	}
}

// wakeAll wakes everyone.
func (f *waitingFor) wakeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.of {
		close(w.commit)
	}
	clear(f.of)
}
