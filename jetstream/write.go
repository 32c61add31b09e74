package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// Headers of the server's that make a write conditional, erasing, or part of an
// atomic batch.
const (
	headerFence       = "Nats-Expected-Last-Subject-Sequence"
	headerRollup      = "Nats-Rollup"
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// write is one commit or marker on its way to the server.
type write struct {
	target
	messages []wire.Message
	id       uuid.UUID // of the first event, or the marker: tells that it is ours
	before   *head     // what it follows; its position is the fence
	rollup   bool      // erases every other message of the subject

	meanwhile *group   // whose next head is made while the server works; nil: none
	sending   nats.Msg // the message that is sent last
	fences    [1]string
}

// verdict is what an attempt to publish came to.
type verdict int

const (
	vStored   verdict = iota // it is stored, once
	vConflict                // not stored: the fence has passed
	vInFlight                // not stored: another write is in flight
	vAgain                   // not stored: the server can't just now
	vRefused                 // not stored, and never will be
	vFull                    // not stored by this attempt: no room
	vUnknown                 // it may be stored, or may yet be
)

// write stores w and returns the position of its last message. The error is
// errConflict or errInFlight where it was not stored because of others, else the
// caller's.
//
// An attempt whose outcome is unknown is repeated with the same fence, which
// alone can tell: an acknowledgement means stored exactly once; a passed fence
// means that something is there, and its id whether that is w.
func (b *Backend) write(ctx context.Context, w *write) (uint64, error) {
	position, v, err := b.publish(ctx, w, b.cfg.RequestTimeout)
	if v != vStored {
		position, err = b.insist(ctx, w, v, err)
	}
	if err == nil && w.rollup {
		return b.restoreErased(ctx, w, position)
	}
	return position, err
}

// restoreErased writes w, a rollup that was stored, once more without the rollup
// where the server has erased it together with what it takes the place of. Where
// it can't read one of those messages it erases as many as there were, and so its
// own (nats-server 2.15.2, PurgeEx). What can't be read then remains, out of reach.
func (b *Backend) restoreErased(ctx context.Context, w *write, position uint64) (uint64, error) {
	parts := uint64(len(w.messages))
	first, err := b.leaderGet(ctx, getRequest{Seq: position + 1 - parts})
	if err != nil {
		return 0, outcomeUnknown(ctx, fmt.Errorf("acknowledged, and not found out whether it remained: %w", err))
	}
	if first != nil {
		return position, nil
	}
	again := *w
	again.rollup, again.before = false, &head{}
	if parts > 1 {
		again.before = &head{position: position}
	}
	delete(w.messages[0].Header, headerRollup)
	switch at, err := b.write(ctx, &again); {
	case err == nil:
		return at, nil
	case errors.Is(err, errUnfinished):
		return 0, err
	case errors.Is(err, errConflict), errors.Is(err, errInFlight):
		return position, nil // it is gone because another has taken its place
	default:
		// Whatever err says of nothing being written, what w takes the place of is gone.
		return 0, outcomeUnknown(ctx, fmt.Errorf("the server erased what it acknowledged: %v", err))
	}
}

// insist is write after a first attempt that was judged v.
func (b *Backend) insist(ctx context.Context, w *write, v verdict, err error) (uint64, error) {
	unknown := false
	wait := b.cfg.RequestTimeout
	for tries := 0; ; tries++ {
		switch v {
		case vConflict:
			if !unknown {
				return 0, errConflict
			}
			return b.resolve(ctx, w)
		case vInFlight:
			if !unknown {
				return 0, errInFlight
			}
		case vRefused:
			if !unknown {
				return 0, err
			}
		case vFull:
			if !unknown {
				return 0, fmt.Errorf("%w: %w", backend.ErrStoreFull, err)
			}
		case vUnknown:
			unknown = true
			wait = min(2*wait, maxTimeout) // a server that is slow is not helped by more of the same
		}
		b.log.DebugContext(ctx, "repeating a write", "subject", w.subject, "fence", w.before.position, "unknown", unknown, "error", err)
		if b.ended(err) || !pause(ctx, tries) {
			if unknown {
				return 0, outcomeUnknown(ctx, err)
			}
			return 0, unavailable(ctx, err)
		}
		var position uint64
		if position, v, err = b.publish(ctx, w, wait); v == vStored {
			return position, nil
		}
	}
}

// resolve finds out, after the fence has passed, whether w is what passed it:
// the message that follows the fence on the subject is w's first, or not.
func (b *Backend) resolve(ctx context.Context, w *write) (uint64, error) {
	for tries := 0; ; tries++ {
		next, err := b.leaderGet(ctx, getRequest{Seq: w.before.position + 1, NextFor: w.subject})
		if err != nil {
			return 0, outcomeUnknown(ctx, err)
		}
		if next != nil {
			return b.recognise(ctx, w, next)
		}
		// The leader asked doesn't see yet what the one that refused saw.
		if !pause(ctx, tries) {
			return 0, outcomeUnknown(ctx, errConflict)
		}
	}
}

// recognise tells whether next, the message after the fence, is w's.
func (b *Backend) recognise(ctx context.Context, w *write, next *stored) (uint64, error) {
	rec, err := wire.Decode(next.header, next.body)
	if err == nil {
		if id, err := rec.MarkerID(); err == nil && id == w.id {
			return b.recogniseParts(ctx, w, next) // or another process repeats what we do
		}
	}
	// A message keeps its own fence. Where that is ours, nothing ever stood
	// between; where it is a later one, what it followed was erased since.
	if values := next.header[headerFence]; len(values) == 1 && values[0] != w.fence() {
		return 0, outcomeUnknown(ctx, errors.New("the event stream was erased or truncated meanwhile"))
	}
	return 0, errConflict
}

// recogniseParts tells whether all of w is there, which begins with first: a
// batch that a server failed to apply leaves its beginning behind at most, and
// counts for nothing then.
func (b *Backend) recogniseParts(ctx context.Context, w *write, first *stored) (uint64, error) {
	started := time.Now()
	for i := range w.messages {
		m := first
		for tries := 0; i > 0; tries++ {
			var err error
			if m, err = b.leaderGet(ctx, getRequest{Seq: first.position + uint64(i)}); err != nil {
				return 0, outcomeUnknown(ctx, err)
			}
			if m != nil {
				break
			}
			// It is being applied; or the server failed in the middle of that.
			if time.Since(started) > b.cfg.RequestTimeout {
				return 0, errUnfinished
			}
			if !pause(ctx, tries) {
				return 0, outcomeUnknown(ctx, errUnfinished)
			}
		}
		// The same events in another shape, or as the beginning of another life, are
		// another process's: comparing ids will tell.
		ours := w.messages[i].Header
		if m.subject != w.subject {
			return 0, errConflict
		}
		for _, name := range []string{wire.HeaderID, wire.HeaderPart, wire.HeaderStream} {
			if !slices.Equal(m.header[name], ours[name]) {
				return 0, errConflict
			}
		}
	}
	return first.position + uint64(len(w.messages)) - 1, nil
}

// publish sends w once, waits for the answer, and judges it.
func (b *Backend) publish(ctx context.Context, w *write, wait time.Duration) (uint64, verdict, error) {
	if err := b.ready(ctx); err != nil {
		return 0, vAgain, err
	}
	ack := b.acks.get(w.subject)
	token, v, err := b.send(ctx, w, ack)
	if err != nil {
		return 0, v, err
	}
	defer b.acks.put(ack)
	if w.meanwhile != nil {
		w.meanwhile.makeHead()
	}
	answer, err := b.acks.wait(ctx, token, ack, wait)
	if errors.Is(err, nats.ErrPermissionViolation) {
		return 0, vRefused, notPermitted(err)
	}
	if err != nil {
		return 0, vUnknown, b.explainWait(w.subject, err)
	}
	return b.judge(answer, w)
}

// send sends w, once b is ready, so that r is told the answer. The verdict is that
// of an error.
func (b *Backend) send(ctx context.Context, w *write, r receiver) (uint64, verdict, error) {
	last := len(w.messages) - 1
	batchID := ""
	if last > 0 {
		batchID = uuid.NewString() // each attempt is a batch of its own
	}
	for i := range w.messages[:last] {
		if ctx.Err() != nil {
			return 0, vAgain, ctx.Err() // without its last message a batch is nothing
		}
		switch err := b.nc.PublishMsg(w.message(i, batchID)); {
		case errors.Is(err, nats.ErrMaxPayload):
			return 0, vRefused, fmt.Errorf("%w: %w", backend.ErrEventTooLarge, err)
		case err != nil:
			return 0, vAgain, err
		}
	}
	token, err := b.acks.send(w.message(last, batchID), r)
	switch {
	case err == nil:
		return token, vUnknown, nil
	case errors.Is(err, nats.ErrMaxPayload): // the server's has just become smaller
		return 0, vRefused, fmt.Errorf("%w: %w", backend.ErrEventTooLarge, err)
	}
	return 0, notSent(err), b.explain(w.subject, err)
}

// fence is the position that w follows, as the server's header has it.
func (w *write) fence() string { return strconv.FormatUint(w.before.position, 10) }

// message makes the i-th message of w ready to send. It takes the place of the one
// before, and its headers that of those of the attempt before: nats.go has written
// a message out when it has sent it.
func (w *write) message(i int, batchID string) *nats.Msg {
	m := w.messages[i]
	if i == 0 {
		w.fences[0] = w.fence()
		m.Header[headerFence] = w.fences[:]
		if w.rollup {
			m.Header[headerRollup] = []string{"sub"}
		}
	}
	if batchID != "" {
		m.Header[headerBatchID] = []string{batchID}
		m.Header[headerBatchSeq] = []string{strconv.Itoa(i + 1)}
		if i == len(w.messages)-1 {
			m.Header[headerBatchCommit] = []string{"1"}
		}
	}
	w.sending = nats.Msg{Subject: w.subject, Header: m.Header, Data: m.Body}
	return &w.sending
}

// notSent judges an attempt that the client wouldn't send.
func notSent(err error) verdict {
	switch {
	case errors.Is(err, errNotSent),
		errors.Is(err, nats.ErrReconnectBufExceeded),
		errors.Is(err, nats.ErrConnectionClosed),
		errors.Is(err, nats.ErrConnectionDraining),
		errors.Is(err, nats.ErrInvalidConnection):
		return vAgain
	}
	return vUnknown
}

// judge reads the server's answer.
func (b *Backend) judge(answer *nats.Msg, w *write) (uint64, verdict, error) {
	if position := b.acknowledged(answer.Data); position != 0 {
		return position, vStored, nil
	}
	if isNobody(answer) {
		return 0, vAgain, b.explain(w.subject, nats.ErrNoResponders)
	}
	var ack struct {
		Stream string    `json:"stream"`
		Domain string    `json:"domain"`
		Seq    uint64    `json:"seq"`
		Error  *apiError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, vUnknown, fmt.Errorf("unreadable acknowledgement: %w", err)
	}
	if ack.Error == nil {
		if ack.Seq == 0 {
			return 0, vUnknown, errors.New("acknowledgement without a position")
		}
		if ack.Stream != b.cfg.Stream || b.cfg.Domain != "" && ack.Domain != b.cfg.Domain {
			return 0, vUnknown, fmt.Errorf("acknowledged by JetStream stream %q, domain %q, which has the same subjects", ack.Stream, ack.Domain)
		}
		return ack.Seq, vStored, nil
	}
	return 0, b.judgeError(ack.Error), refusal(ack.Error, w)
}

// acknowledged returns the position where an answer is, to the byte, what the
// server writes of a message that it stored (nats-server 2.15.2, stream.go,
// pubAck); else 0. Decoding JSON would be a twentieth of an append.
func (b *Backend) acknowledged(answer []byte) uint64 {
	number, ok := bytes.CutPrefix(answer, b.api.ack)
	if !ok {
		return 0
	}
	number, ok = bytes.CutSuffix(number, []byte{'}'})
	if !ok || bytes.HasPrefix(number, []byte{'0'}) {
		return 0
	}
	position, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		return 0
	}
	return position
}

func (b *Backend) judgeError(e *apiError) verdict {
	switch {
	case e.ErrCode == codeWrongLastSequence:
		return vConflict
	case e.ErrCode == codeWrongLastConstant:
		return vInFlight
	case e.ErrCode == codeDuplicateInProcess, e.ErrCode == codeBatchIncomplete, e.ErrCode == codeTooManyBatches, e.ErrCode == codeTooManyRequests:
		return vAgain
	case isFull(e), e.ErrCode == codeStoreFailed && strings.Contains(e.Description, "maximum"):
		return vFull
	case isTooLarge(e):
		return vRefused
	case e.ErrCode == codeSequenceMismatch, e.ErrCode == codeStoreFailed, e.Code >= 500:
		return vUnknown
	}
	return vRefused
}

// refusal makes of the server's error one of this library's.
func refusal(e *apiError, w *write) error {
	switch {
	case isTooLarge(e):
		return fmt.Errorf("%w: %w", backend.ErrEventTooLarge, e)
	case e.ErrCode == codeBatchTooLarge:
		return fmt.Errorf("%w: %d messages: %w", backend.ErrAppendTooLarge, len(w.messages), e)
	}
	return fmt.Errorf("%w: %w", backend.ErrUnavailable, e)
}

// isTooLarge reports whether e is the answer to a message that is too large, for
// the JetStream stream or for what it is stored in.
func isTooLarge(e *apiError) bool {
	return e.ErrCode == codeMessageTooLarge || e.ErrCode == codeHeaderTooLarge ||
		e.ErrCode == codeStoreFailed && strings.Contains(e.Description, "too large")
}
