package wire

import (
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
)

// The server, too, gives back what it was given; also where a caller's text looks
// like a header of the server's, next to the real one.
func TestEverythingComesBackFromAServer(t *testing.T) {
	nc := testserver.Single(t).Connect(t)
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), natsjs.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true, AllowRollup: true})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	var commits [][]backend.UnsavedEvent
	for seed := range 200 {
		commits = append(commits, anyEvents(6).Example(seed))
	}
	for _, text := range []string{
		"Nats-Rollup: all", "\r\nNats-Rollup: all", "Nats-Expected-Last-Subject-Sequence: 99", "Nats-Expected-Last-Subject-Sequence",
		"Nats-Msg-Id: 1", "Nats-TTL: 1s", "NATS/1.0 404\r\n\r\n", "traceparent: 00-1-1-01", ":", "\r\n\r\n+OK\r\n",
	} {
		events := plainEvents(2)
		events[0].EventType, events[1].Metadata, events[0].Data = text, []byte(text), []byte(text)
		commits = append(commits, events)
	}
	largest := plainEvents(1)
	largest[0].EventType = strings.Repeat("\x00", backend.MaxEventTypeBytes)
	largest[0].Metadata = []byte(strings.Repeat("\xff", backend.MaxMetadataBytes))
	largest[0].Data = make([]byte, int(nc.MaxPayload())-MaxHeaderBytes)
	commits = append(commits, largest)

	subject := "s." + strings.Repeat("x", 900)
	for i, events := range commits {
		m := encodeOne(t, events, begun(uint64(i)), nil)
		msg := &nats.Msg{Subject: subject, Header: m.Header, Data: m.Body}
		msg.Header["Nats-Expected-Last-Subject-Sequence"] = []string{strconv.Itoa(i)}
		ack, err := js.PublishMsg(t.Context(), msg)
		if err != nil {
			t.Fatalf("commit %d: %v\n%s", i, err, natsHeader(m.Header))
		}
		if ack.Sequence != uint64(i+1) || ack.Duplicate {
			t.Fatalf("commit %d: %+v", i, ack)
		}
	}
	for i, events := range commits {
		got, err := stream.GetMsg(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatalf("message %d: %v", i+1, err)
		}
		rec, err := Decode(got.Header, got.Data)
		if err != nil {
			t.Fatalf("message %d: %v\n%s", i+1, err, natsHeader(got.Header))
		}
		var want []backend.RecordedEvent
		for k, e := range events {
			want = append(want, recorded(e, testCommon, uint64(i+k+1)))
		}
		back, err := rec.AppendEvents(nil, testCommon, 0, math.MaxUint64)
		if err != nil || !reflect.DeepEqual(back, want) {
			t.Errorf("message %d: %+v, %v, want %+v", i+1, back, err, want)
		}
		if age := time.Since(got.Time); age < 0 || age > time.Minute {
			t.Errorf("message %d was stored %v ago", i+1, age)
		}
	}
}
