package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
)

// consumerConfig is the server's configuration of a consumer, as far as it is
// set here.
type consumerConfig struct {
	Name              string        `json:"name"`
	DeliverPolicy     string        `json:"deliver_policy"`
	StartSeq          uint64        `json:"opt_start_seq"`
	AckPolicy         string        `json:"ack_policy"`
	FilterSubject     string        `json:"filter_subject"`
	ReplayPolicy      string        `json:"replay_policy"`
	InactiveThreshold time.Duration `json:"inactive_threshold"`
	Replicas          int           `json:"num_replicas"`
	MemoryStorage     bool          `json:"mem_storage"`
}

const (
	// pullBatch is how many messages a scan has on their way at most. 512 took 8 %
	// more time, and 2048 no less (own measurement on nats-server 2.15.2).
	pullBatch = 1024

	// liveExpires is after how many request timeouts a request that is waiting for
	// what is yet to be appended is made again.
	liveExpires = 15

	// controls is room for what the server sends beside messages.
	controls = 64

	// consumerLife is how long the server keeps a consumer that nobody uses: one
	// whose deletion didn't reach it.
	consumerLife = 30 * time.Second
)

// scan reads the messages of a subject, which may be a wildcard, in order,
// through an ordered consumer: an ephemeral one, without acknowledgements, that
// is replaced by another whenever a message is missing. It starts no goroutine.
type scan struct {
	b      *Backend
	filter string
	after  uint64 // the position read last
	end    uint64 // the position to end at, inclusive
	budget uint64 // how many messages may still be asked for ahead

	live    bool   // goes on waiting at the end, which is then of no meaning
	ahead   int    // how many messages are on their way at most
	pending uint64 // live: how many more there were for the consumer, when it last said so
	idle    bool   // the last thing that came says that nothing has for a while

	name      string // of the consumer; empty: none
	mark      string // what stands before the numbers of a reply subject
	sub       *nats.Subscription
	messages  chan *nats.Msg // what the consumer delivers
	timer     *time.Timer    // to wait for it
	delivered uint64         // by the consumer
	underway  int            // messages asked for and not yet here
	replaced  int            // consumers replaced since the last message
	message   stored         // the last one
	finished  bool
}

// newScan scans the positions after after, up to end inclusive. Who expects to
// end earlier says after how many messages, so that few are sent for nothing. The
// scan must be dropped.
func (b *Backend) newScan(filter string, after, end, expected uint64) *scan {
	return &scan{b: b, filter: filter, after: after, end: end, budget: expected, ahead: pullBatch, finished: after >= end}
}

// next returns the next message, which is good until the next call; nil at the
// end, which comes when nothing more is stored up to the end position, as the
// leader says.
func (s *scan) next(ctx context.Context) (*stored, error) {
	if s.finished {
		return nil, nil
	}
	if s.sub != nil && ctx.Err() == nil {
		if msg := s.receive(ctx); msg != nil {
			if m, err := s.accept(ctx, msg); m != nil {
				return m, nil
			} else if err != nil {
				s.replace(ctx, err)
			} else if s.finished {
				return nil, nil
			}
		}
	}
	return s.await(ctx)
}

// receive returns a message that is here already, or comes soon: most do, and
// need no context and timer of their own.
func (s *scan) receive(ctx context.Context) *nats.Msg {
	select {
	case msg := <-s.messages:
		return msg
	default:
	}
	if s.underway <= 0 {
		return nil
	}
	s.timer.Reset(s.b.cfg.RequestTimeout / 10)
	defer s.timer.Stop()
	select {
	case msg := <-s.messages:
		return msg
	case <-s.timer.C:
	case <-ctx.Done():
	}
	return nil
}

// await is next where nothing comes soon.
func (s *scan) await(ctx context.Context) (*stored, error) {
	ctx, cancel, err := s.b.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	for {
		m, err := s.advance(ctx)
		if m != nil || s.finished {
			return m, nil
		}
		if err == nil {
			continue
		}
		s.replace(ctx, err)
		// A refusal names the consumer, so it is none of an earlier time.
		if s.b.nc.IsClosed() || s.b.closed.Load() || isAPIError(err, codeStreamNotFound) ||
			errors.Is(err, nats.ErrPermissionViolation) || !pause(ctx, s.replaced) {
			return nil, unavailable(ctx, err)
		}
	}
}

// replace gives up a consumer that is of no more use; the next is made where it
// is needed.
func (s *scan) replace(ctx context.Context, cause error) {
	s.b.log.DebugContext(ctx, "replacing a consumer", "filter", s.filter, "after", s.after, "error", cause)
	s.drop(ctx)
	s.replaced++
}

// advance waits for the next message, or finds that there is none. Neither, and
// no error: to be called again. An error: the consumer is of no more use.
func (s *scan) advance(ctx context.Context) (*stored, error) {
	if s.sub == nil {
		pending, err := s.open(ctx)
		if err != nil {
			return nil, err
		}
		if pending == 0 {
			return nil, s.checkEnd(ctx)
		}
	}
	if s.underway <= 0 && s.budget == 0 {
		s.budget = pullBatch // it was fewer than are needed
	}
	if err := s.pull(); err != nil {
		return nil, err
	}
	s.timer.Reset(s.b.cfg.RequestTimeout)
	defer s.timer.Stop()
	select {
	case msg := <-s.messages:
		return s.accept(ctx, msg)
	case <-s.timer.C:
		return nil, s.b.explain(s.b.api.consumerNext+s.name, nats.ErrTimeout)
	case <-s.b.done:
		return nil, errClosed
	case <-ctx.Done():
		return nil, s.b.explain(s.b.api.consumerNext+s.name, ctx.Err())
	}
}

// accept takes what the consumer delivered, and asks it for more in time.
func (s *scan) accept(ctx context.Context, msg *nats.Msg) (*stored, error) {
	s.idle = false
	if msg.Reply == "" { // what is stored comes with one, whatever its headers
		return nil, s.control(ctx, msg)
	}
	meta, err := s.metadata(msg.Reply)
	if err != nil {
		return nil, err
	}
	if meta.delivery != s.delivered+1 {
		return nil, fmt.Errorf("message %d of the consumer after %d", meta.delivery, s.delivered)
	}
	s.delivered++
	s.underway--
	s.replaced = 0
	if meta.position > s.end {
		s.finished = true
		return nil, nil
	}
	s.after = meta.position
	s.finished = s.after == s.end
	s.pending = meta.pending
	if !s.finished {
		if meta.pending == 0 && !s.live { // the end may be gone, or this replica lags
			err = s.checkEnd(ctx)
		} else {
			err = s.pull()
		}
		if err != nil {
			s.replace(ctx, err)
		}
	}
	s.message = stored{subject: msg.Subject, position: meta.position, at: meta.at, header: msg.Header, body: msg.Data}
	return &s.message, nil
}

// metadata is what the server tells of a message that a consumer delivers.
type metadata struct {
	position uint64
	delivery uint64    // counts the consumer's messages, from 1
	at       time.Time // when it was stored, UTC
	pending  uint64    // how many more there are for the consumer
}

// metadata reads the reply subject of a message:
//
//	$JS.ACK.<stream>.<consumer>.<times delivered>.<position>.<delivery>.<time>.<pending>
//
// or the same with more tokens before the stream and after the last. nats.go's
// Metadata does, too, in four times the time (own measurement).
func (s *scan) metadata(reply string) (m metadata, err error) {
	_, rest, _ := strings.Cut(reply, s.mark)
	var numbers [5]uint64
	for i := range numbers {
		number, more, _ := strings.Cut(rest, ".")
		if numbers[i], err = strconv.ParseUint(number, 10, 64); err != nil {
			return m, fmt.Errorf("a message with the reply subject %.200q", reply)
		}
		rest = more
	}
	return metadata{position: numbers[1], delivery: numbers[2], at: time.Unix(0, int64(numbers[3])).UTC(), pending: numbers[4]}, nil
}

// control handles a message of the server's own.
func (s *scan) control(ctx context.Context, msg *nats.Msg) error {
	if n, err := strconv.Atoi(msg.Header.Get("Nats-Pending-Messages")); err == nil {
		s.underway -= n // the request has ended
	}
	switch status := msg.Header.Get("Status"); status {
	case "100": // idle: there is nothing, as far as this replica knows
		s.idle = true
		if last := msg.Header.Get("Nats-Last-Consumer"); s.live && last != strconv.FormatUint(s.delivered, 10) {
			return fmt.Errorf("the consumer's last message is %q, %d came", last, s.delivered)
		}
		return s.checkEnd(ctx)
	case "404", "408":
		s.underway = max(s.underway, 0)
		return s.checkEnd(ctx)
	case "409":
		if description := msg.Header.Get("Description"); description == "Message Size Exceeds MaxBytes" || description == "Batch Completed" {
			s.underway = max(s.underway, 0)
			return nil
		}
		fallthrough
	default:
		return fmt.Errorf("consumer: %s %s", status, msg.Header.Get("Description"))
	}
}

// checkEnd asks the leader whether there is anything more. If so, it is waited
// for: the consumer's replica lags.
func (s *scan) checkEnd(ctx context.Context) error {
	if s.live {
		return nil
	}
	next, err := s.upcoming(ctx)
	if err != nil {
		return err
	}
	s.finished = next == nil || next.position > s.end
	return nil
}

// upcoming asks the leader for the first message that hasn't come yet; nil: there
// is none.
func (s *scan) upcoming(ctx context.Context) (*stored, error) {
	ctx, cancel, err := s.b.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return s.b.leaderGet(ctx, getRequest{Seq: s.after + 1, NextFor: s.filter})
}

// open creates the consumer and returns how many messages wait for it, as far as
// the replica that it is on knows.
func (s *scan) open(ctx context.Context) (pending uint64, err error) {
	s.name = uuid.NewString()
	s.mark = "." + s.name + "."
	s.delivered, s.underway = 0, 0
	var request struct {
		Stream string         `json:"stream_name"`
		Config consumerConfig `json:"config"`
	}
	request.Stream = s.b.cfg.Stream
	request.Config = consumerConfig{
		Name:              s.name,
		DeliverPolicy:     "by_start_sequence",
		StartSeq:          s.after + 1,
		AckPolicy:         "none",
		FilterSubject:     s.filter,
		ReplayPolicy:      "instant",
		InactiveThreshold: consumerLife,
		Replicas:          1,
		MemoryStorage:     true,
	}
	var answer struct {
		NumPending uint64 `json:"num_pending"`
	}
	if err := s.b.callLate(ctx, s.b.api.consumerCreate+s.name+"."+s.filter, request, &answer, unwanted{b: s.b, consumer: s.name}); err != nil {
		return 0, err
	}
	// What is asked for is bounded, so that the channel has room for it. (A
	// synchronous subscription would make an error of a stored message that looks
	// like one of the server's.)
	s.pending = answer.NumPending
	s.messages = make(chan *nats.Msg, 2*s.ahead+controls)
	s.timer = time.NewTimer(time.Hour)
	s.timer.Stop()
	s.sub, err = s.b.nc.ChanSubscribe(s.b.nc.NewInbox(), s.messages)
	return answer.NumPending, err
}

// unwanted is a consumer that nobody waited for: it is deleted once more when it
// has been made. The server may deal with requests in another order than they came
// in, so that the deletion before may have found none.
type unwanted struct {
	b        *Backend
	consumer string
}

// check implements receiver.
func (unwanted) check() {}

// receive implements receiver.
func (u unwanted) receive(*nats.Msg) { _ = u.b.nc.Publish(u.b.api.consumerDelete+u.consumer, nil) }

// pull asks for more when half of what was asked for has come.
func (s *scan) pull() error {
	rest := s.end - s.after // the most that there can be
	if s.underway > s.ahead/2 || uint64(s.underway) >= rest || s.budget == 0 {
		return nil
	}
	request := struct {
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{
		Batch:     int(min(uint64(s.ahead-s.underway), rest-uint64(s.underway), s.budget)),
		MaxBytes:  max(8<<20, 2*int(s.b.nc.MaxPayload())),
		Expires:   s.b.cfg.RequestTimeout * 2,
		Heartbeat: s.b.cfg.RequestTimeout / 2,
	}
	if s.live {
		request.Expires, request.Heartbeat = liveExpires*s.b.cfg.RequestTimeout, s.b.cfg.RequestTimeout
	}
	data, err := json.Marshal(request)
	if err != nil {
		return err
	}
	s.underway += request.Batch
	s.budget -= uint64(request.Batch)
	return s.b.nc.PublishRequest(s.b.api.consumerNext+s.name, s.sub.Subject, data)
}

// drop gives up the consumer, here and on the server, and so all that the scan
// holds.
func (s *scan) drop(ctx context.Context) {
	if s.sub != nil {
		_ = s.sub.Unsubscribe()
		s.sub = nil
	}
	if s.name == "" || s.b.nc.IsClosed() {
		return
	}
	subject := s.b.api.consumerDelete + s.name
	s.name = ""
	if !s.b.nc.IsConnected() {
		return // what isn't deleted goes when it has been unused for consumerLife
	}
	// The answer isn't waited for: on three replicas it takes longer than to read
	// a hundred messages (own measurement on nats-server 2.15.2).
	if err := s.b.nc.Publish(subject, nil); err != nil {
		s.b.log.DebugContext(ctx, "deleting a consumer", "error", s.b.explain(subject, err))
	}
}
