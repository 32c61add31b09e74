package securitytest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

func TestReadersInAnAccountOfTheirOwnReadAndNothingElse(t *testing.T) {
	setPasswords(t)
	s := start(t, "readers.conf")
	adminConn := s.Connect(t, admin.login())
	fill(t, open(t, adminConn))
	nc := s.Connect(t, reader.login())
	inAccount := config
	inAccount.Domain = "STORE"
	b, err := jetstream.Open(within(t), nc, inAccount)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range reads {
		if err := op.do(within(t), b); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}

	// Whatever they write, or want their answers sent to, stays with them.
	before := lastPosition(t, adminConn)
	heard, err := nc.SubscribeSync("events.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, question := range []*nats.Msg{
		{Subject: "$JS.STORE.API.STREAM.INFO.EVENTS", Reply: "events.short"},
		{Subject: "$JS.STORE.API.DIRECT.GET.EVENTS", Reply: "events.forged", Data: []byte(`{"seq":1}`)},
		{Subject: "events.short", Data: []byte("foreign")},
	} {
		if err := nc.PublishMsg(question); err != nil {
			t.Fatal(err)
		}
		if _, err := heard.NextMsg(patience); err != nil {
			t.Errorf("%s: %v", question.Subject, err)
		}
	}
	if err := heard.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	for _, op := range writes {
		// Nobody is there to refuse them.
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		err := op.do(ctx, b)
		cancel()
		if !errors.Is(err, backend.ErrUnavailable) && !errors.Is(err, backend.ErrOutcomeUnknown) {
			t.Errorf("%s: %v, want ErrUnavailable or ErrOutcomeUnknown", op.name, err)
		}
	}
	if after := lastPosition(t, adminConn); after != before {
		t.Errorf("the store ends at %d, before it did at %d", after, before)
	}
	for _, op := range reads {
		if err := op.do(within(t), open(t, adminConn)); err != nil {
			t.Errorf("%s: %v", op.name, err)
		}
	}
}
