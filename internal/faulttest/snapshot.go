package faulttest

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
)

// Snapshot is the server's own backup of a JetStream stream, as
// `nats stream backup` has it made.
type Snapshot struct {
	stream []byte // {"config": …, "state": …}
	data   []byte
}

// chunk is how many bytes of a snapshot are sent at a time.
const chunk = 32 << 10

// TakeSnapshot has the server make a backup.
func TakeSnapshot(tb testing.TB, nc *nats.Conn, stream string) *Snapshot {
	tb.Helper()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	must(tb, err)
	defer sub.Unsubscribe()
	answer := request(tb, nc, "$JS.API.STREAM.SNAPSHOT."+stream,
		fmt.Appendf(nil, `{"deliver_subject":%q,"no_consumers":true,"chunk_size":%d}`, inbox, chunk))
	s := &Snapshot{}
	s.stream, err = json.Marshal(map[string]json.RawMessage{"config": answer["config"], "state": answer["state"]})
	must(tb, err)
	for {
		msg, err := sub.NextMsg(patience)
		must(tb, err)
		if len(msg.Data) == 0 { // the end
			if status := msg.Header.Get("Status"); status != "" && status != "204" {
				tb.Fatalf("the snapshot failed: %v", msg.Header)
			}
			return s
		}
		s.data = append(s.data, msg.Data...)
		if msg.Reply != "" {
			must(tb, msg.Respond(nil))
		}
	}
}

// Restore has the server restore the backup. There must be no JetStream stream of
// the name.
func (s *Snapshot) Restore(tb testing.TB, nc *nats.Conn, stream string) {
	tb.Helper()
	answer := request(tb, nc, "$JS.API.STREAM.RESTORE."+stream, s.stream)
	var to string
	must(tb, json.Unmarshal(answer["deliver_subject"], &to))
	for data := s.data; len(data) > 0; data = data[min(chunk, len(data)):] {
		_, err := nc.Request(to, data[:min(chunk, len(data))], patience)
		must(tb, err)
	}
	request(tb, nc, to, nil)
}

// request requests something of the server's API.
func request(tb testing.TB, nc *nats.Conn, subject string, body []byte) map[string]json.RawMessage {
	tb.Helper()
	msg, err := nc.Request(subject, body, patience)
	must(tb, err)
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(msg.Data, &answer); err != nil || answer["error"] != nil {
		tb.Fatalf("%s: %v, %s", subject, err, msg.Data)
	}
	return answer
}
