package securitytest

import (
	"crypto/x509"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/tributary-es/tributary/internal/testserver"
)

// If this fails with a newer server, Open can check what docs/security.md says
// that it can't.
func TestNoClientLearnsWhetherTheServerSyncsEachWrite(t *testing.T) {
	for name, options := range map[string][]testserver.Option{"always": {testserver.SyncAlways()}, "by default": nil} {
		nc := testserver.Single(t, options...).Connect(t)
		open(t, nc)
		for _, subject := range []string{"$JS.API.STREAM.INFO.EVENTS", "$JS.API.INFO", "$JS.API.STREAM.LIST"} {
			answer, _ := request(t, nc, &nats.Msg{Subject: subject})
			if strings.Contains(string(answer.Data), "sync") {
				t.Errorf("%s, syncing %s: %s", subject, name, answer.Data)
			}
		}
	}
}

func TestTheFilesSyncEachWrite(t *testing.T) {
	setPasswords(t)
	for _, tenant := range []string{"ACME", "UMBRELLA"} {
		t.Setenv(tenant+"_PASSWORD", "secret-of-"+tenant)
	}
	for _, r := range roles {
		_, public, _ := nkey(t, nkeys.CreateUser)
		t.Setenv(string(r)+"_NKEY", public)
	}
	ours := newAuthority(t)
	cert, key := ours.issue(t, x509.ExtKeyUsageServerAuth)
	t.Setenv("NATS_CERT", cert)
	t.Setenv("NATS_KEY", key)
	t.Setenv("NATS_CA", ours.file)
	setOperator(t)
	files, err := filepath.Glob(filepath.Join(configs, "*.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		// What others include has no servers of its own.
		if file = filepath.Base(file); file != "permissions.conf" && !loadConfig(t, file).SyncAlways {
			t.Errorf("%s doesn't", file)
		}
	}
}
