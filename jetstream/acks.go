package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// acks has those that wait for the server's answer. All answers come to one inbox,
// for as long as the backend is open: nats.go's requests take a context with a
// timer each, and let nothing be done while the server works.
type acks struct {
	nc   *nats.Conn
	pool sync.Pool     // of *ack
	seen atomic.Uint64 // how many connections were seen to have gone

	// running is whether the timer runs, as it does while anything is awaited, and
	// until the check after that.
	running atomic.Bool

	looked  atomic.Pointer[look] // the last look at the connection
	looking atomic.Bool          // whether another is under way
	missed  atomic.Int32         // checks that came meanwhile

	mu       sync.Mutex
	sub      *nats.Subscription // nil: nothing was sent yet
	inbox    string
	last     uint64              // the last token given
	awaiting map[uint64]receiver // by token
	timer    *time.Timer         // nil: not made yet
	closed   bool
}

// receiver is told the answer to a message, at most once, in nats.go's goroutine.
// Until then it is told, every [checkEvery], that there is none yet. Both must not
// wait for anything.
type receiver interface {
	receive(answer *nats.Msg)
	check()
}

// series is a receiver of several answers, of which receive is told the last one.
type series interface {
	receiver

	// more is told each of the others, and reports whether it is one of them. It
	// must not use acks.
	more(answer *nats.Msg) bool
}

func newAcks(nc *nats.Conn) *acks {
	a := &acks{nc: nc, awaiting: make(map[uint64]receiver)}
	a.look(0)
	return a
}

// checkEvery is how often those who wait for an answer are told to see whether it
// can still come, and whether they have waited long enough. One timer is for all
// of them: with one each, an append would be busy with timers for a twentieth of
// its time.
const checkEvery = 50 * time.Millisecond

// check looks at the connection and tells all that nothing came for them, and ends
// when there are none.
func (a *acks) check() {
	a.mu.Lock()
	upTo, running := a.last, len(a.awaiting) > 0
	if a.running.Store(running); running {
		a.timer.Reset(checkEvery) // before the look, which may take long
	}
	a.mu.Unlock()
	if !running {
		return
	}
	a.look(upTo)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.awaiting {
		r.check()
	}
}

// look is how the connection was.
type look struct {
	upTo       uint64 // the last token that was given before
	reconnects uint64
	status     nats.Status
	lastError  error
	maxPayload int64
}

// look looks how the connection is, unless another look is under way. That may be
// for long: nats.go writes to the socket, which may be full, with the lock that
// all of this is behind. So who waits for an answer asks the last look, never the
// connection, and is not held up.
func (a *acks) look(upTo uint64) {
	if !a.looking.CompareAndSwap(false, true) {
		a.missed.Add(1)
		return
	}
	a.missed.Store(0)
	now := &look{upTo: upTo, reconnects: a.nc.Stats().Reconnects, status: a.nc.Status(), lastError: a.nc.LastError(), maxPayload: a.nc.MaxPayload()}
	a.seen.Store(now.reconnects)
	a.looked.Store(now)
	a.looking.Store(false)
}

// stuck reports whether the connection hasn't taken anything for some checks: who
// sends by it would wait, whatever becomes of his context.
func (a *acks) stuck() bool { return a.missed.Load() >= 5 && a.looking.Load() }

// lost returns why no answer comes any more to what was sent with token by a
// connection, as far as this look saw; nil: it may. What was sent by a new one
// before anybody saw that the old one had gone is taken for lost, too: nats.go's
// own count is behind the lock that all senders share.
func (l *look) lost(token, connection uint64) error {
	switch {
	case l == nil || l.upTo < token:
		return nil // it was before that
	case l.status == nats.CLOSED:
		return nats.ErrConnectionClosed
	case l.status != nats.CONNECTED && l.status != nats.DRAINING_SUBS && l.status != nats.DRAINING_PUBS, l.reconnects != connection:
		return nats.ErrDisconnected
	}
	return nil
}

// refused returns the server's word that this connection may not publish to the
// subject that something was sent to with token, where it came after the last
// error was before: the server says so beside the answer, which then never comes.
func (l *look) refused(token uint64, subject string, before error) error {
	if l != nil && token <= l.upTo && l.lastError != before && isRefusal(l.lastError, subject) {
		return l.lastError
	}
	return nil
}

// run sees to it that the timer runs. a.mu is held.
func (a *acks) run() {
	switch {
	case a.running.Load():
	case a.timer == nil:
		a.timer = time.AfterFunc(checkEvery, a.check)
	default:
		a.timer.Reset(checkEvery)
	}
	a.running.Store(true)
}

// send sends a message whose answer is for r. It returns the token to forget it
// with. Of some errors it is known that nothing was sent: errNotSent.
func (a *acks) send(m *nats.Msg, r receiver) (uint64, error) {
	token, err := a.expect(r)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errNotSent, err)
	}
	m.Reply = a.inbox + "." + strconv.FormatUint(token, 36)
	if err := a.nc.PublishMsg(m); err != nil {
		a.forget(token)
		return 0, err
	}
	return token, nil
}

func (a *acks) expect(r receiver) (uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return 0, errClosed
	}
	if a.sub == nil {
		inbox := a.nc.NewInbox()
		sub, err := a.nc.Subscribe(inbox+".*", a.receive)
		if err != nil {
			return 0, err
		}
		a.sub, a.inbox = sub, inbox
	}
	a.last++
	a.awaiting[a.last] = r
	a.run()
	return a.last, nil
}

// forget reports whether nobody was told the answer, and nobody will be.
func (a *acks) forget(token uint64) bool { return a.take(token) != nil }

// latest is how late an answer comes at most that somebody still wants who no
// longer waits for it.
const latest = consumerLife

// leave is forget, except that an answer that comes late is for r.
func (a *acks) leave(token uint64, r receiver) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.awaiting[token] == nil {
		return false
	}
	if a.closed {
		delete(a.awaiting, token)
		a.unsubscribe()
		return true
	}
	a.awaiting[token] = late{r}
	time.AfterFunc(latest, func() { a.forget(token) })
	return true
}

// late is a receiver for whom nobody waits.
type late struct{ receiver }

// check implements receiver.
func (late) check() {}

// take returns who the answer is for; nil: it isn't waited for any more.
func (a *acks) take(token uint64) receiver {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.takeLocked(token)
}

// takeLocked is take with a.mu held.
func (a *acks) takeLocked(token uint64) receiver {
	r := a.awaiting[token]
	delete(a.awaiting, token)
	a.unsubscribe()
	return r
}

func (a *acks) receive(m *nats.Msg) {
	token, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 36, 64)
	if err != nil {
		return
	}
	if r := a.takeFor(token, m); r != nil {
		r.receive(m)
	}
}

// takeFor is take for the last of the answers to a message; nil: m isn't that.
func (a *acks) takeFor(token uint64, m *nats.Msg) receiver {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s, ok := a.awaiting[token].(series); ok && s.more(m) {
		return nil
	}
	return a.takeLocked(token)
}

// close ends the subscription when the last answer has come that somebody waits
// for.
func (a *acks) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	maps.DeleteFunc(a.awaiting, func(_ uint64, r receiver) bool {
		_, isLate := r.(late)
		return isLate
	})
	a.unsubscribe()
}

func (a *acks) unsubscribe() {
	if a.closed && len(a.awaiting) == 0 && a.sub != nil {
		_ = a.sub.Unsubscribe() // of a closed connection there is none
		a.sub = nil
	}
}

// ack is an answer that is waited for.
type ack struct {
	answer     chan *nats.Msg // the answer, or nil: there is none yet; has room for both
	connection uint64         // acks.seen when it was sent
	subject    string         // that it was sent to
	lastError  error          // the connection's, before that
	late       receiver       // of the answer, if it comes after the context has ended; nil: nobody
}

func (a *ack) receive(answer *nats.Msg) { a.answer <- answer }

// check is only called before the answer has come.
func (a *ack) check() {
	if len(a.answer) == 0 {
		a.answer <- nil
	}
}

// get returns an ack for a write that is now sent to a subject; put gives it
// back, once the answer has come or won't.
func (a *acks) get(subject string) *ack {
	got, ok := a.pool.Get().(*ack)
	if !ok {
		got = &ack{answer: make(chan *nats.Msg, 2)}
	}
	got.connection = a.current()
	got.subject, got.lastError, got.late = subject, a.nc.LastError(), nil
	return got
}

func (a *acks) put(used *ack) {
	for len(used.answer) > 0 {
		<-used.answer
	}
	a.pool.Put(used)
}

// current returns which connection it is that something is sent by now, as far as
// is known. Where nothing was awaited for a while, nobody looked.
func (a *acks) current() uint64 {
	if !a.running.Load() {
		a.seen.Store(a.nc.Stats().Reconnects)
	}
	return a.seen.Load()
}

// isNobody reports whether an answer is the server's word that nobody listens to
// the subject.
func isNobody(answer *nats.Msg) bool {
	return len(answer.Data) == 0 && answer.Header.Get("Status") == "503"
}

// isRefusal reports whether err says that the connection may not publish to
// subject (nats-server 2.15.2, client.go, pubPermissionViolation).
func isRefusal(err error, subject string) bool {
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), fmt.Sprintf("Publish to %q", subject))
}

// isInboxRefusal reports whether err says that the connection may not subscribe
// to inboxes such as inbox, so that it is never answered anything.
func isInboxRefusal(err error, inbox string) bool {
	prefix := inbox[:strings.LastIndexByte(inbox, '.')+1]
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `Subscription to "`+prefix)
}

// wait waits for the answer to what was sent with token, for at most wait. The
// error is [nats.ErrPermissionViolation] where the server refused it.
func (a *acks) wait(ctx context.Context, token uint64, w *ack, wait time.Duration) (*nats.Msg, error) {
	done := ends(ctx)
	var p patience
	for {
		var answer *nats.Msg
		var err error
		select {
		case answer = <-w.answer:
			if answer != nil {
				return answer, nil
			}
			l := a.looked.Load()
			err = cmp.Or(l.refused(token, w.subject, w.lastError), l.lost(token, w.connection), p.spent(ctx, wait))
		case <-done:
			err = ctx.Err()
		}
		if err == nil {
			continue
		}
		unanswered := false
		if w.late != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
			unanswered = a.leave(token, w.late)
		} else {
			unanswered = a.forget(token)
		}
		if !unanswered { // it came just now
			for answer == nil {
				answer = <-w.answer
			}
			return answer, nil
		}
		return nil, err
	}
}

// patience is how long an answer is waited for, by the checks: most answers come
// before the first, and take no look at the clock.
type patience struct{ since time.Time } // the first check

// spent returns the error where it is enough: after wait, or by ctx's deadline.
func (p *patience) spent(ctx context.Context, wait time.Duration) error {
	now := time.Now()
	if deadline, ok := ctx.Deadline(); ok && !now.Before(deadline) {
		return context.DeadlineExceeded
	}
	if p.since.IsZero() {
		p.since = now
	}
	if now.Sub(p.since) >= wait {
		return nats.ErrTimeout
	}
	return nil
}
