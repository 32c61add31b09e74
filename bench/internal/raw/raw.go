// Package raw does with nats.go alone what the library is measured against, as
// well as nats.go can.
package raw

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Client is a connection and a JetStream stream.
type Client struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	direct string // subject of direct gets
}

// NewClient returns a client of the JetStream stream.
func NewClient(ctx context.Context, nc *nats.Conn, stream string) (*Client, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("the JetStream stream %s: %w", stream, err)
	}
	return &Client{nc: nc, js: js, stream: s, direct: "$JS.API.DIRECT.GET." + stream}, nil
}

// The headers of the server's that are used.
const (
	headerFence       = "Nats-Expected-Last-Subject-Sequence"
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
	headerSequence    = "Nats-Sequence"
)

// Own returns the headers of a stored message that are not the server's.
func Own(header nats.Header) nats.Header {
	kept := make(nats.Header, len(header))
	for name, values := range header {
		if !strings.HasPrefix(name, "Nats-") {
			kept[name] = values
		}
	}
	return kept
}

// Fence makes msg conditional: the last message of its subject must be at
// sequence; 0: there must be none.
func Fence(msg *nats.Msg, sequence uint64) {
	msg.Header[headerFence] = []string{strconv.FormatUint(sequence, 10)}
}

// codeInFlight is the server's error where another write of the subject is in
// flight. A cluster answers it now and then just after it acknowledged that other
// write (nats-server 2.15.2); trying again is all there is to do.
const codeInFlight = 10164

func inFlight(err error) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.ErrorCode == codeInFlight
}

// WrongFence reports whether a message was refused because the last one of its
// subject is another than the fence says.
func WrongFence(err error) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// Publish publishes msg where the last message of its subject is at fence, and
// returns its sequence.
func (c *Client) Publish(ctx context.Context, msg *nats.Msg, fence uint64) (uint64, error) {
	Fence(msg, fence)
	for {
		ack, err := c.js.PublishMsg(ctx, msg)
		if inFlight(err) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return 0, err
		}
		return ack.Sequence, nil
	}
}

// PublishBatch publishes messages, all or none, where the last message of their
// subject is at fence, and returns the sequence of the last.
func (c *Client) PublishBatch(ctx context.Context, messages []*nats.Msg, fence uint64) (uint64, error) {
	for {
		sequence, err := c.publishBatch(ctx, messages, fence)
		if inFlight(err) && ctx.Err() == nil {
			continue
		}
		return sequence, err
	}
}

func (c *Client) publishBatch(ctx context.Context, messages []*nats.Msg, fence uint64) (uint64, error) {
	id := uuid.NewString()
	for i, msg := range messages {
		header := make(nats.Header, len(msg.Header)+3)
		maps.Copy(header, msg.Header)
		header[headerBatchID] = []string{id}
		header[headerBatchSeq] = []string{strconv.Itoa(i + 1)}
		m := &nats.Msg{Subject: msg.Subject, Header: header, Data: msg.Data}
		if i == 0 {
			Fence(m, fence)
		}
		if i < len(messages)-1 {
			if err := c.nc.PublishMsg(m); err != nil {
				return 0, err
			}
			continue
		}
		header[headerBatchCommit] = []string{"1"}
		answer, err := c.nc.RequestMsgWithContext(ctx, m)
		if err != nil {
			return 0, err
		}
		var ack struct {
			Seq   uint64              `json:"seq"`
			Error *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(answer.Data, &ack); err != nil {
			return 0, err
		}
		if ack.Error != nil {
			return 0, ack.Error
		}
		return ack.Seq, nil
	}
	return 0, nil
}

// Last gets the last message of a subject, and returns its sequence with it.
func (c *Client) Last(ctx context.Context, subject string) (*nats.Msg, uint64, error) {
	msg, err := c.nc.RequestWithContext(ctx, c.direct+"."+subject, nil)
	if err != nil {
		return nil, 0, err
	}
	sequence, err := found(msg)
	return msg, sequence, err
}

// Get gets the messages at sequences, all asked for at once on one inbox. Its
// channel is made here, with room for them: SubscribeSync would make one of half
// a megabyte.
func (c *Client) Get(ctx context.Context, sequences []uint64) ([]*nats.Msg, error) {
	inbox, answers := c.nc.NewInbox(), make(chan *nats.Msg, len(sequences))
	sub, err := c.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for _, sequence := range sequences {
		request := strconv.AppendUint([]byte(`{"seq":`), sequence, 10)
		if err := c.nc.PublishRequest(c.direct, inbox, append(request, '}')); err != nil {
			return nil, err
		}
	}
	messages := make([]*nats.Msg, 0, len(sequences))
	for range sequences {
		select {
		case msg := <-answers:
			if _, err := found(msg); err != nil {
				return nil, err
			}
			messages = append(messages, msg)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return messages, nil
}

// found returns the sequence of a message that a direct get answered.
func found(msg *nats.Msg) (uint64, error) {
	sequence, err := strconv.ParseUint(msg.Header.Get(headerSequence), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("direct get: %s %s", msg.Header.Get("Status"), msg.Header.Get("Description"))
	}
	return sequence, nil
}

// Requests is how many messages the connection has sent.
func (c *Client) Requests() uint64 { return c.nc.Stats().OutMsgs }
