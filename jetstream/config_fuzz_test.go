package jetstream

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary"
	"github.com/tributary-es/tributary/backend"
)

// maxAPISubject is well below what has the server close the connection: a control
// line of 4 KiB, which an inbox is in, too.
const maxAPISubject = 2048

// Whatever is in a Config, Open refuses it, or asks the server on subjects that
// are its API's, of this JetStream stream and no other.
func FuzzConfig(f *testing.F) {
	f.Add("", "", "", 0, 0, int64(0), 0, 0, 0, int64(0), int64(0))
	f.Add("EVENTS", "events", "hub", 3, 1, int64(1<<30), 1, 100, 1, int64(time.Second), int64(time.Second))
	for _, text := range []string{">", "*", "a.b", "a b", "$JS", "a\r\nPUB b 0\r\n\r\n", "\xff", "ä", "a\x00", strings.Repeat("x", 129), strings.Repeat("x.", 64)} {
		f.Add(text, "events", "", 1, 0, int64(0), 0, 0, 0, int64(0), int64(0))
		f.Add("EVENTS", text, "", 1, 0, int64(0), 0, 0, 0, int64(0), int64(0))
		f.Add("EVENTS", "events", text, 1, 0, int64(0), 0, 0, 0, int64(0), int64(0))
	}
	f.Add("EVENTS", "events", strings.Repeat("x", 5000), 1, 0, int64(0), 0, 0, 0, int64(0), int64(0))
	for _, n := range []int{-1, 6, 1 << 24, 1<<24 + 1, 1<<63 - 1, -1 << 63} {
		f.Add("", "", "", n, n, int64(n), n, n, n, int64(n), int64(n))
	}
	f.Fuzz(func(t *testing.T, stream, prefix, domain string, replicas, storage int, maxBytes int64, eventsPerMessage, heads, consistency int, timeout, requestTimeout int64) {
		cfg := Config{Stream: stream, Prefix: prefix, Domain: domain, Replicas: replicas, Storage: Storage(storage), MaxBytes: maxBytes,
			EventsPerMessage: eventsPerMessage, HeadCacheSize: heads, ReadConsistency: ReadConsistency(consistency),
			Timeout: time.Duration(timeout), RequestTimeout: time.Duration(requestTimeout)}
		if b, err := Open(t.Context(), nil, cfg); b != nil || !errors.Is(err, backend.ErrInvalidArgument) {
			t.Fatalf("without a connection: %v, want ErrInvalidArgument", err)
		}
		c, err := cfg.withDefaults()
		if err != nil {
			if !errors.Is(err, backend.ErrInvalidArgument) || !strings.Contains(err.Error(), "Config.") || len(err.Error()) > 1000 {
				t.Fatalf("%.2000v, want a short ErrInvalidArgument that names the field", err)
			}
			return
		}
		checkAPISubjects(t, c)
		checkLimits(t, c)
	})
}

func checkAPISubjects(t *testing.T, c Config) {
	api := newAPISubjects(c.Domain, c.Stream)
	longest, err := tributary.Subjects{Prefix: c.Prefix}.Subject(strings.Repeat("*", tributary.MaxStreamUUIDBytes))
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("0", 36)
	for _, subject := range []string{api.direct, api.direct + "." + longest, api.get, api.purge, api.info, api.create,
		api.consumerCreate + name + "." + longest, api.consumerNext + name, api.consumerDelete + name} {
		tokens := strings.Split(subject, ".")
		at := 2 // $JS.API.…
		if c.Domain != "" {
			at = 3
		}
		switch {
		case !server.IsValidLiteralSubject(subject) || !server.IsValidPublishSubject(subject):
			t.Errorf("%q is no subject", subject)
		case tokens[0] != "$JS" || tokens[at-1] != "API" || c.Domain != "" && tokens[1] != c.Domain:
			t.Errorf("%q is none of the API's", subject)
		case tokens[at+2] != c.Stream && tokens[at+3] != c.Stream:
			t.Errorf("%q doesn't name %q", subject, c.Stream)
		case len(subject) > maxAPISubject:
			t.Errorf("a subject of %d bytes", len(subject))
		}
	}
}

func checkLimits(t *testing.T, c Config) {
	switch {
	case c.Replicas < 0 || c.Replicas > 5, c.MaxBytes < 0, c.EventsPerMessage < 0, c.HeadCacheSize < 1 || c.HeadCacheSize > 1<<24:
		t.Errorf("accepted: %+v", c)
	case c.Timeout <= 0 || c.Timeout > time.Hour, c.RequestTimeout <= 0 || c.RequestTimeout > time.Hour:
		t.Errorf("accepted: timeouts %v and %v", c.Timeout, c.RequestTimeout)
	case c.Storage.String() == "memory" != (c.Storage == MemoryStorage):
		t.Errorf("storage %v", c.Storage)
	case c.Logger == nil:
		t.Error("no logger")
	}
}

// What the server answers to a write is an acknowledgement only where it names
// the JetStream stream and a position; and what the fast way to read it takes,
// JSON says too.
func FuzzAcknowledgement(f *testing.F) {
	for _, answer := range []string{
		`{"stream":"EVENTS","seq":17}`, `{"stream":"EVENTS","seq":17,"duplicate":true}`, `{"stream":"EVENTS", "seq":17}`,
		`{"stream":"EVENTS","domain":"hub","seq":17}`, `{"stream":"OTHER","seq":17}`, `{"stream":"EVENTS","seq":0}`,
		`{"stream":"EVENTS","seq":-1}`, `{"stream":"EVENTS","seq":017}`, `{"stream":"EVENTS","seq":18446744073709551616}`, `{"stream":"EVENTS","seq":1e3}`,
		`{"stream":"EVENTS","seq":+17}`, `{"stream":"EVENTS","seq":1}}`, `{"stream":"EVENTS","seq":}`,
		`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 17"},"stream":"EVENTS","seq":0}`,
		`{"error":{"code":503}}`, `{"error":null,"stream":"EVENTS","seq":3}`, `{"error":{}}`, ``, `null`, `[]`, `"`, `{`, "\xff",
	} {
		f.Add("", []byte(answer))
	}
	f.Add("503", []byte{})
	f.Fuzz(func(t *testing.T, status string, data []byte) {
		for _, domain := range []string{"", "hub"} {
			b := &Backend{nc: &nats.Conn{}, cfg: Config{Stream: "EVENTS", Domain: domain}, api: newAPISubjects(domain, "EVENTS")}
			w := &write{target: target{subject: "events.x"}, before: &head{}}
			position, v, err := b.judge(&nats.Msg{Header: nats.Header{"Status": {status}}, Data: data}, w)
			if (v == vStored) != (err == nil) || (v == vStored) != (position != 0) {
				t.Fatalf("position %d, verdict %d, error %v", position, v, err)
			}
			if v != vStored {
				continue
			}
			var ack server.JSPubAckResponse
			if err := json.Unmarshal(data, &ack); err != nil || ack.Error != nil || ack.PubAck == nil {
				t.Fatalf("%q is taken for an acknowledgement: %v", data, err)
			}
			if ack.Stream != "EVENTS" || ack.Domain != domain && domain != "" || ack.Sequence != position {
				t.Errorf("%q: position %d", data, position)
			}
		}
	})
}
