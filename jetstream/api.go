package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
)

// apiSubjects are the subjects of the server's API that are used.
type apiSubjects struct {
	direct, get, purge, info, create             string
	consumerCreate, consumerNext, consumerDelete string

	ack []byte // what an acknowledgement begins with
}

func newAPISubjects(domain, stream string) apiSubjects {
	prefix := "$JS.API."
	ack := fmt.Appendf(nil, `{"stream":%q,"seq":`, stream)
	if domain != "" {
		prefix = "$JS." + domain + ".API."
		ack = fmt.Appendf(nil, `{"stream":%q,"domain":%q,"seq":`, stream, domain)
	}
	return apiSubjects{
		direct:         prefix + "DIRECT.GET." + stream,
		get:            prefix + "STREAM.MSG.GET." + stream,
		purge:          prefix + "STREAM.PURGE." + stream,
		info:           prefix + "STREAM.INFO." + stream,
		create:         prefix + "STREAM.CREATE." + stream,
		consumerCreate: prefix + "CONSUMER.CREATE." + stream + ".",
		consumerNext:   prefix + "CONSUMER.MSG.NEXT." + stream + ".",
		consumerDelete: prefix + "CONSUMER.DELETE." + stream + ".",
		ack:            ack,
	}
}

// Error codes of the server's API (nats-server 2.15.2, errors.json).
const (
	codeAccountResources   = 10002
	codeInsufficient       = 10023
	codeMemoryResources    = 10028
	codeMessageNotFound    = 10037
	codeStorageResources   = 10047
	codeCreatingFailed     = 10049
	codeMessageTooLarge    = 10054
	codeStreamNameInUse    = 10058
	codeStreamNotFound     = 10059
	codeSequenceMismatch   = 10063 // internal to the server: says nothing of the message
	codeWrongLastSequence  = 10071
	codeStoreFailed        = 10077
	codeHeaderTooLarge     = 10097
	codeDuplicateInProcess = 10158
	codeWrongLastConstant  = 10164 // another write of the subject is in flight
	codeTooManyRequests    = 10167 // more was on its way than the server queues
	codeBatchIncomplete    = 10176
	codeBatchTooLarge      = 10199
	codeTooManyBatches     = 10210
)

// apiError is an error that the server's API answers.
type apiError struct {
	Code        int    `json:"code"`     // like an HTTP status
	ErrCode     int    `json:"err_code"` // the code that says what is wrong
	Description string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("nats: %s (%d)", e.Description, e.ErrCode)
}

// isAPIError reports whether err is the API's error with that code.
func isAPIError(err error, code int) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.ErrCode == code
}

// stored is a message of the JetStream stream.
type stored struct {
	subject  string
	position uint64
	at       time.Time // when it was stored
	header   map[string][]string
	body     []byte
}

// request sends a request that changes nothing, and sends it again until it is
// answered or ctx ends, or the server says that it isn't permitted.
func (b *Backend) request(ctx context.Context, subject string, data []byte, late receiver) (*nats.Msg, error) {
	for tries := 0; ; tries++ {
		msg, err := b.requestOnce(ctx, &nats.Msg{Subject: subject, Data: data}, late)
		if err == nil {
			return msg, nil
		}
		if errors.Is(err, nats.ErrPermissionViolation) {
			return nil, notPermitted(err)
		}
		err = b.explainWait(subject, err)
		if b.ended(err) {
			return nil, fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
		}
		b.log.DebugContext(ctx, "repeating a request", "subject", subject, "error", err)
		if !pause(ctx, tries) {
			return nil, unavailable(ctx, err)
		}
	}
}

// requestOnce sends a request and waits for its answer, for at most
// [Config.RequestTimeout]. late, if not nil, is told the answer where it comes
// after ctx has ended.
func (b *Backend) requestOnce(ctx context.Context, msg *nats.Msg, late receiver) (*nats.Msg, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	ack := b.acks.get(msg.Subject)
	defer b.acks.put(ack)
	ack.late = late
	return b.ask(ctx, msg, ack, ack)
}

// ask sends a request whose answer r is told, which then tells ack, once b is ready.
func (b *Backend) ask(ctx context.Context, msg *nats.Msg, r receiver, ack *ack) (*nats.Msg, error) {
	token, err := b.acks.send(msg, r)
	if err != nil {
		return nil, err
	}
	answer, err := b.acks.wait(ctx, token, ack, b.cfg.RequestTimeout)
	if err == nil && isNobody(answer) {
		return nil, nats.ErrNoResponders
	}
	return answer, err
}

// ready returns why nothing is to be sent now; nil: it may be. Without a connection
// the client would keep it, and send it after the reconnect, when the caller has
// long been told that it failed.
func (b *Backend) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.disconnected()
}

// disconnected returns why nothing is to be sent by the connection now; nil: it may
// be. While it drains, the inbox of the answers is gone already.
func (b *Backend) disconnected() error {
	if b.acks.stuck() {
		return errStuck
	}
	switch b.nc.Status() {
	case nats.CONNECTED:
		return nil
	case nats.CLOSED:
		return nats.ErrConnectionClosed
	case nats.DRAINING_SUBS, nats.DRAINING_PUBS:
		return nats.ErrConnectionDraining
	}
	return nats.ErrDisconnected
}

// ended reports whether nothing will be sent any more, after the last attempt failed
// with err.
func (b *Backend) ended(err error) bool {
	return b.closed.Load() || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrConnectionDraining)
}

// explain adds what the connection knows about a request without an answer: the
// server reports a missing permission beside it, not in it.
func (b *Backend) explain(subject string, err error) error {
	return b.explainBy(b.nc.LastError(), subject, err)
}

// explainWait is explain for who waited for an answer in acks, and whose time may
// be over: he must not wait for the connection.
func (b *Backend) explainWait(subject string, err error) error {
	var last error
	if l := b.acks.looked.Load(); l != nil {
		last = l.lastError
	}
	return b.explainBy(last, subject, err)
}

// explainBy is explain where the connection's last error was last, which may be an
// old one, of someone else's.
func (b *Backend) explainBy(last error, subject string, err error) error {
	if isRefusal(last, subject) || isInboxRefusal(last, b.nc.NewInbox()) {
		return fmt.Errorf("request to %s: %w (the connection's last error: %w)", subject, err, last)
	}
	return fmt.Errorf("request to %s: %w", subject, err)
}

// call requests something of the API that answers in JSON. The answer may be an
// [*apiError]; those that say that the server isn't ready are repeated.
func (b *Backend) call(ctx context.Context, subject string, request, answer any) error {
	return b.callLate(ctx, subject, request, answer, nil)
}

// callLate is call, with a receiver of an answer that comes after ctx has ended.
func (b *Backend) callLate(ctx context.Context, subject string, request, answer any, late receiver) error {
	var data []byte
	if request != nil {
		var err error
		if data, err = json.Marshal(request); err != nil {
			return err
		}
	}
	for tries := 0; ; tries++ {
		msg, err := b.request(ctx, subject, data, late)
		if err != nil {
			return err
		}
		var failed struct {
			Error *apiError `json:"error"`
		}
		if err := json.Unmarshal(msg.Data, &failed); err != nil {
			return fmt.Errorf("%w: unreadable answer of %s: %w", backend.ErrUnavailable, subject, err)
		}
		if failed.Error == nil {
			if err := json.Unmarshal(msg.Data, answer); err != nil {
				return fmt.Errorf("%w: unreadable answer of %s: %w", backend.ErrUnavailable, subject, err)
			}
			return nil
		}
		if failed.Error.Code != 503 {
			return failed.Error
		}
		if !pause(ctx, tries+4) {
			return unavailable(ctx, failed.Error)
		}
	}
}

// getRequest is a request for a message: by its sequence, the last of a subject,
// or the next of a subject from a sequence on.
type getRequest struct {
	Seq     uint64 `json:"seq,omitempty"`
	LastFor string `json:"last_by_subj,omitempty"`
	NextFor string `json:"next_by_subj,omitempty"`
}

// last returns the last message of a subject as any replica has it; nil: none.
// It asks once: where there is no good answer, the leader is asked.
func (b *Backend) last(ctx context.Context, subject string) (*stored, error) {
	msg, err := b.requestOnce(ctx, &nats.Msg{Subject: b.api.direct + "." + subject}, nil)
	if err != nil {
		return nil, err
	}
	return b.fromDirect(msg)
}

// lastUpTo is last, and returns the position of the last of all messages that the
// replica had then, so that its answer is of everything up to there.
func (b *Backend) lastUpTo(ctx context.Context, subject string) (*stored, uint64, error) {
	request, err := json.Marshal(struct {
		Last [1]string `json:"multi_last"`
	}{[1]string{subject}})
	if err != nil {
		return nil, 0, err
	}
	if err := b.ready(ctx); err != nil {
		return nil, 0, err
	}
	ack := b.acks.get(b.api.direct)
	defer b.acks.put(ack)
	answers := &lastAndEnd{ack: ack}
	end, err := b.ask(ctx, &nats.Msg{Subject: b.api.direct, Data: request}, answers, ack)
	if err != nil {
		return nil, 0, err
	}
	if answers.last == nil {
		m, err := b.fromDirect(end) // says why
		return m, 0, err
	}
	m, err := b.fromDirect(answers.last)
	if err != nil {
		return nil, 0, err
	}
	upTo, err := strconv.ParseUint(end.Header.Get("Nats-UpTo-Sequence"), 10, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: direct get: bad Nats-UpTo-Sequence: %w", backend.ErrUnavailable, err)
	}
	return m, upTo, nil
}

// lastAndEnd is told the answers to a direct get of several subjects' last
// messages: here one message, and that it was all.
type lastAndEnd struct {
	*ack
	last *nats.Msg
}

// more implements series.
func (l *lastAndEnd) more(answer *nats.Msg) bool {
	if answer.Header.Get("Nats-Sequence") == "" {
		return false
	}
	l.last = answer
	return true
}

// leaderGet asks the leader for a message; nil: there is none. The leader's
// answer is the newest there is, unless that leader is one that was cut off.
func (b *Backend) leaderGet(ctx context.Context, request getRequest) (*stored, error) {
	var answer struct {
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	err := b.call(ctx, b.api.get, request, &answer)
	if isAPIError(err, codeMessageNotFound) {
		return nil, nil
	}
	if _, ok := errors.AsType[*apiError](err); ok {
		return nil, fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	if err != nil {
		return nil, err
	}
	m := &stored{subject: answer.Message.Subject, position: answer.Message.Seq, at: answer.Message.Time.UTC(), body: answer.Message.Data}
	if len(answer.Message.Header) > 0 {
		if m.header, err = nats.DecodeHeadersMsg(answer.Message.Header); err != nil {
			m.header = nil // decoding will tell that this is no message of ours
		}
	}
	return m, nil
}

// fromDirect reads the answer of a direct get; nil: there is no such message.
func (b *Backend) fromDirect(msg *nats.Msg) (*stored, error) {
	// A stored message may have a header of that name; an answer that is none has
	// no sequence.
	if status := msg.Header.Get("Status"); status != "" && msg.Header.Get("Nats-Sequence") == "" {
		if status == "404" {
			return nil, nil
		}
		return nil, fmt.Errorf("%w: direct get: %s %s", backend.ErrUnavailable, status, msg.Header.Get("Description"))
	}
	m := &stored{subject: msg.Header.Get("Nats-Subject"), header: msg.Header, body: msg.Data}
	var err error
	if m.position, err = strconv.ParseUint(msg.Header.Get("Nats-Sequence"), 10, 64); err != nil {
		return nil, fmt.Errorf("%w: direct get: bad Nats-Sequence: %w", backend.ErrUnavailable, err)
	}
	if m.at, err = time.Parse(time.RFC3339Nano, msg.Header.Get("Nats-Time-Stamp")); err != nil {
		return nil, fmt.Errorf("%w: direct get: bad Nats-Time-Stamp: %w", backend.ErrUnavailable, err)
	}
	m.at = m.at.UTC()
	return m, nil
}
