package upgradetest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// patience bounds what must come.
const patience = 30 * time.Second

// The files of a stored store: what the server's snapshot of the JetStream stream
// is made of, and what the version that wrote it read.
const (
	streamFile   = "stream.json"     // its configuration and state
	snapshotFile = "snapshot.tar.s2" // what it holds
	wantFile     = "want.json"
)

// chunk is how many bytes of a snapshot are sent at a time.
const chunk = 32 << 10

// snapshot is the server's own backup of a JetStream stream.
type snapshot struct {
	stream []byte // {"config": …, "state": …}
	data   []byte
}

// take has the server make a snapshot.
func take(t *testing.T, nc *nats.Conn, stream string) snapshot {
	t.Helper()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	request := fmt.Appendf(nil, `{"deliver_subject":%q,"no_consumers":true,"jsck":true,"chunk_size":%d}`, inbox, chunk)
	answer := call(t, nc, "$JS.API.STREAM.SNAPSHOT."+stream, request)
	var s snapshot
	if s.stream, err = json.MarshalIndent(map[string]json.RawMessage{"config": answer["config"], "state": answer["state"]}, "", "  "); err != nil {
		t.Fatal(err)
	}
	s.stream = append(s.stream, '\n')
	for {
		msg, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if len(msg.Data) == 0 { // the end
			if status := msg.Header.Get("Status"); status != "" && status != "204" {
				t.Fatalf("the snapshot failed: %v", msg.Header)
			}
			return s
		}
		s.data = append(s.data, msg.Data...)
		if msg.Reply != "" {
			if err := msg.Respond(nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// restore has the server restore a snapshot.
func (s snapshot) restore(t *testing.T, nc *nats.Conn, stream string) {
	t.Helper()
	answer := call(t, nc, "$JS.API.STREAM.RESTORE."+stream, s.stream)
	var to string
	if err := json.Unmarshal(answer["deliver_subject"], &to); err != nil {
		t.Fatal(err)
	}
	for data := s.data; len(data) > 0; data = data[min(chunk, len(data)):] {
		if _, err := nc.Request(to, data[:min(chunk, len(data))], patience); err != nil {
			t.Fatal(err)
		}
	}
	call(t, nc, to, nil)
}

// call requests something of the server's API.
func call(t *testing.T, nc *nats.Conn, subject string, request []byte) map[string]json.RawMessage {
	t.Helper()
	msg, err := nc.Request(subject, request, patience)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(msg.Data, &answer); err != nil || answer["error"] != nil {
		t.Fatalf("%s: %v, %s", subject, err, msg.Data)
	}
	return answer
}

// load reads a stored store.
func load(t *testing.T, dir string) (s snapshot, want []byte) {
	t.Helper()
	return loadSnapshot(t, dir), read(t, dir, wantFile)
}

func loadSnapshot(t *testing.T, dir string) snapshot {
	t.Helper()
	return snapshot{read(t, dir, streamFile), read(t, dir, snapshotFile)}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
