package wire

import (
	"maps"
	"net/textproto"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"
)

var newlines = strings.NewReplacer("\r", " ", "\n", " ")

// natsHeader writes a header as nats.go does (v1.55.0, Msg.headerBytes), but for
// the order of the names.
func natsHeader(header map[string][]string) []byte {
	b := []byte("NATS/1.0\r\n")
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, newlines.Replace(textproto.TrimString(value))...)
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}

// overNATS returns the header as nats.go's receiver has it.
func overNATS(t rapid.TB, header map[string][]string) map[string][]string {
	got, err := nats.DecodeHeadersMsg(natsHeader(header))
	if err != nil {
		t.Fatalf("nats.go can't decode the headers %q: %v", header, err)
	}
	return got
}

// serverHeaders are the longest that a message of a commit is sent with.
var serverHeaders = map[string][]string{
	"Nats-Expected-Last-Subject-Sequence": {"18446744073709551615"},
	"Nats-Batch-Id":                       {"00000000-0000-0000-0000-000000000000"},
	"Nats-Batch-Sequence":                 {"1000"},
	"Nats-Batch-Commit":                   {"1"},
}

// sentBytes is the size of a message's headers as they are sent at most.
func sentBytes(header map[string][]string) int {
	all := maps.Clone(serverHeaders)
	maps.Copy(all, header)
	return len(natsHeader(all))
}
