package securitytest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// The tests here prove what docs/security.md warns of: what permissions within
// one account do not keep apart. Should one fail with a newer server, the page
// promises less than there is.

// user is a user who may publish to subjects, and subscribe to inboxes.
func user(name string, subjects ...string) *server.User {
	return &server.User{Username: name, Password: name, Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: subjects},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}}
}

// oneAccount starts a server with one account, a user who may do anything, and
// another, and connects both.
func oneAccount(t *testing.T, limited *server.User) (all, some *nats.Conn) {
	t.Helper()
	s := testserver.Single(t, testserver.WithServerOptions(func(o *server.Options) {
		o.Users = []*server.User{user("all", ">"), limited}
	}))
	return s.Connect(t, nats.UserInfo("all", "all")), s.Connect(t, nats.UserInfo(limited.Username, limited.Password))
}

// apiAnswer is what the server answers, as far as it is looked at here.
type apiAnswer struct {
	Error *struct {
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
	Seq uint64 `json:"seq"`
}

func request(t *testing.T, nc *nats.Conn, msg *nats.Msg) (*nats.Msg, apiAnswer) {
	t.Helper()
	answer, err := nc.RequestMsgWithContext(within(t), msg)
	if err != nil {
		t.Fatal(err)
	}
	var decoded apiAnswer
	if json.Valid(answer.Data) {
		if err := json.Unmarshal(answer.Data, &decoded); err != nil {
			t.Fatal(err)
		}
	}
	return answer, decoded
}

func secret(text string) []backend.UnsavedEvent {
	return []backend.UnsavedEvent{{EventType: "Told", Data: []byte(text)}}
}

// A part of a JetStream stream's subjects can't be set apart for reading: the
// library's gets name the subject in their payload, which no permission looks at.
func TestADirectGetReadsAnySubjectOfTheJetStreamStream(t *testing.T) {
	all, some := oneAccount(t, user("some", "events.a.>", "$JS.API.DIRECT.GET.EVENTS"))
	appendTo(t, open(t, all), "b.1", secret("of b alone"))
	answer, _ := request(t, some, &nats.Msg{Subject: "$JS.API.DIRECT.GET.EVENTS", Data: []byte(`{"last_by_subj":"events.b.1"}`)})
	if string(answer.Data) != "of b alone" {
		t.Errorf("%q %v", answer.Data, answer.Header)
	}
}

// A writer of some subjects learns of the others whether they are, and how they
// grow.
func TestAConditionOnAForeignSubjectTellsItsPosition(t *testing.T) {
	all, some := oneAccount(t, user("some", "events.a.>"))
	appendTo(t, open(t, all), "b.1", secret("1"), secret("2"), secret("3"))
	probe := func(position string) apiAnswer {
		t.Helper()
		_, answer := request(t, some, &nats.Msg{Subject: "events.a.1", Data: []byte("x"), Header: nats.Header{
			"Nats-Expected-Last-Subject-Sequence":         {position},
			"Nats-Expected-Last-Subject-Sequence-Subject": {"events.b.1"},
		}})
		return answer
	}
	if answer := probe("1"); answer.Error == nil || answer.Error.ErrCode != 10071 || !strings.HasSuffix(answer.Error.Description, ": 3") {
		t.Errorf("%+v, want a refusal that tells the position, 3", answer.Error)
	}
	if answer := probe("3"); answer.Error != nil || answer.Seq != 4 {
		t.Errorf("%+v, want it stored", answer)
	}
}

// A writer of one subject can erase the whole JetStream stream, without any
// permission of the API: rollups can't be allowed for a subject only.
func TestAWriterOfOneSubjectCanEraseAll(t *testing.T) {
	all, some := oneAccount(t, user("some", "events.a.1"))
	b := open(t, all)
	appendTo(t, b, "b.1", secret("1"), secret("2"))
	_, answer := request(t, some, &nats.Msg{Subject: "events.a.1", Data: []byte("x"), Header: nats.Header{"Nats-Rollup": {"all"}}})
	if answer.Error != nil {
		t.Fatalf("%+v", answer.Error)
	}
	// A process that knew the events reports that they are gone. One that didn't can't know.
	if _, err := b.ReadStream(t.Context(), "b.1", 1, 10, uuid.Nil); !errors.Is(err, backend.ErrCorrupted) {
		t.Errorf("%v, want ErrCorrupted", err)
	}
	if _, err := open(t, all).ReadStream(t.Context(), "b.1", 1, 10, uuid.Nil); !errors.Is(err, backend.ErrStreamNotFound) {
		t.Errorf("%v, want ErrStreamNotFound", err)
	}
}

// A reader of one store has the server send its messages to any subject of the
// account, which answers go to: to that of another store, too, where he may not
// write.
func TestAReaderOfOneStoreCanWriteToAnotherOfTheAccount(t *testing.T) {
	all, some := oneAccount(t, user("some", "$JS.API.DIRECT.GET.A"))
	openAs := func(stream, prefix string) *jetstream.Backend {
		t.Helper()
		b, err := jetstream.Open(within(t), all, jetstream.Config{Stream: stream, Prefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a, b := openAs("A", "a"), openAs("B", "b")
	appendTo(t, a, "x", secret("of a"))
	if err := some.PublishRequest("$JS.API.DIRECT.GET.A", "b.forged", []byte(`{"seq":1}`)); err != nil {
		t.Fatal(err)
	}
	for ctx := within(t); ; {
		got, err := b.ReadStream(ctx, "forged", 1, 10, uuid.Nil)
		if errors.Is(err, backend.ErrStreamNotFound) && ctx.Err() == nil {
			continue // it is on its way
		}
		if err != nil || len(got) != 1 || string(got[0].Data) != "of a" {
			t.Errorf("%v, %v, want the event of the other store", got, err)
		}
		return
	}
}

// And every answer of the API goes to an inbox, which whoever may subscribe to
// hears.
func TestACommonInboxIsHeardByAll(t *testing.T) {
	all, some := oneAccount(t, user("some"))
	sub, err := some.SubscribeSync("_INBOX.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := some.Flush(); err != nil {
		t.Fatal(err)
	}
	b := open(t, all)
	appendTo(t, b, "x", secret("overheard"))
	if _, err := open(t, all).ReadStream(t.Context(), "x", 1, 10, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	for {
		msg, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(fmt.Errorf("the event wasn't heard: %w", err))
		}
		if string(msg.Data) == "overheard" {
			return
		}
	}
}

// So a reader is trusted not to spoil what he reads: the answer to a question of
// his becomes a message of an event stream, which can then neither be read nor
// appended to until it is erased.
func TestAReaderCanHaveAnAnswerStoredInAnEventStream(t *testing.T) {
	s, adminConn := filled(t)
	before := lastPosition(t, adminConn)
	if err := s.Connect(t, reader.options()...).PublishRequest("$JS.API.STREAM.INFO.EVENTS", "events.short", nil); err != nil {
		t.Fatal(err)
	}
	for ctx := within(t); lastPosition(t, adminConn) == before; {
		if ctx.Err() != nil {
			t.Fatal("it wasn't stored")
		}
	}
	b := open(t, adminConn)
	if _, err := b.ReadStream(within(t), "short", 1, 10, uuid.Nil); !errors.Is(err, backend.ErrCorrupted) {
		t.Errorf("%v, want ErrCorrupted", err)
	}
	if _, err := b.AppendToStream(within(t), "short", events(1), uuid.Nil); !errors.Is(err, backend.ErrCorrupted) {
		t.Errorf("an append: %v, want ErrCorrupted", err)
	}
	if err := reads[2].do(within(t), b); err != nil {
		t.Errorf("another event stream: %v", err)
	}
	if err := b.DeleteStream(within(t), backend.Stream{UUID: "short"}, uuid.Nil); err != nil {
		t.Error(err)
	}
	appendTo(t, b, "short", events(1))
}
