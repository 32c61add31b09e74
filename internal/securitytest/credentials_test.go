package securitytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// wantRoles fails the test where the three kinds of clients that connect makes
// aren't what they are with accounts.conf.
func wantRoles(t *testing.T, s *testserver.Server, credentials func(r role) []nats.Option) {
	t.Helper()
	connect := func(r role) *jetstream.Backend {
		return open(t, s.Connect(t, append(credentials(r), r.inbox())...))
	}
	fill(t, connect(admin))
	readerStore, writerStore := connect(reader), connect(writer)
	wantRefused(t, "a reader's append", writes[1].do(within(t), readerStore), writes[1].subject)
	if err := writes[1].do(within(t), writerStore); err != nil {
		t.Errorf("a writer's append: %v", err)
	}
	for _, b := range []*jetstream.Backend{readerStore, writerStore} {
		if info, err := b.ReadStreamInfo(within(t), "short", [16]byte{}); err != nil || info.Version != 4 {
			t.Errorf("%+v, %v, want version 4", info, err)
		}
		if err := reads[2].do(within(t), b); err != nil {
			t.Error(err)
		}
	}
	for what, options := range map[string][]nats.Option{
		"nothing":    nil,
		"a password": {reader.login()},
	} {
		if nc, err := nats.Connect(s.URL(), options...); err == nil {
			nc.Close()
			t.Errorf("a client with %s connects", what)
		}
	}
}

// nkey is a pair of keys, the public one as text, and the seed in a file.
func nkey(t *testing.T, kind func() (nkeys.KeyPair, error)) (pair nkeys.KeyPair, public, seedFile string) {
	t.Helper()
	pair, err := kind()
	if err != nil {
		t.Fatal(err)
	}
	public, err = pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return pair, public, writeFile(t, "seed.nk", seed)
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestClientsWithNKeys(t *testing.T) {
	options := make(map[role]nats.Option)
	for _, r := range roles {
		_, public, seedFile := nkey(t, nkeys.CreateUser)
		t.Setenv(string(r)+"_NKEY", public)
		option, err := nats.NkeyOptionFromSeed(seedFile)
		if err != nil {
			t.Fatal(err)
		}
		options[r] = option
	}
	s := start(t, "nkeys.conf")
	wantRoles(t, s, func(r role) []nats.Option { return []nats.Option{options[r]} })

	_, _, stranger := nkey(t, nkeys.CreateUser)
	option, err := nats.NkeyOptionFromSeed(stranger)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nats.Connect(s.URL(), option); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a key that the server doesn't know: %v, want ErrAuthorization", err)
	}
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{cert: template}
	der, key := a.sign(t, template)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, writeFile(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// sign makes a certificate, which without a key of the authority's own signs
// itself, and its key.
func (a *authority) sign(t *testing.T, template *x509.Certificate) (der []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, err = x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// issue makes a certificate for 127.0.0.1, and returns the files of it and its
// key.
func (a *authority) issue(t *testing.T, usage x509.ExtKeyUsage) (certFile, keyFile string) {
	t.Helper()
	der, key := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "tributary"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		writeFile(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func TestClientsThroughTLS(t *testing.T) {
	setPasswords(t)
	ours := newAuthority(t)
	certFile, keyFile := ours.issue(t, x509.ExtKeyUsageServerAuth)
	t.Setenv("NATS_CERT", certFile)
	t.Setenv("NATS_KEY", keyFile)
	t.Setenv("NATS_CA", ours.file)
	s := start(t, "tls.conf")

	cert, key := ours.issue(t, x509.ExtKeyUsageClientAuth)
	credentials := func(r role) []nats.Option {
		return []nats.Option{r.login(), nats.RootCAs(ours.file), nats.ClientCert(cert, key)}
	}
	wantRoles(t, s, credentials)
	state, err := s.Connect(t, credentials(writer)...).TLSConnectionState()
	if err != nil || state.Version < tls.VersionTLS13 {
		t.Errorf("TLS version %x, %v", state.Version, err)
	}
}

func TestWhoIsNotTrustedDoesNotConnect(t *testing.T) {
	setPasswords(t)
	ours, theirs := newAuthority(t), newAuthority(t)
	certFile, keyFile := ours.issue(t, x509.ExtKeyUsageServerAuth)
	t.Setenv("NATS_CERT", certFile)
	t.Setenv("NATS_KEY", keyFile)
	t.Setenv("NATS_CA", ours.file)
	s := start(t, "tls.conf")
	trust := nats.RootCAs(ours.file)
	ourCert, ourKey := ours.issue(t, x509.ExtKeyUsageClientAuth)
	s.Connect(t, append(writer.options(), trust, nats.ClientCert(ourCert, ourKey))...) // who is trusted does
	theirCert, theirKey := theirs.issue(t, x509.ExtKeyUsageClientAuth)
	for name, options := range map[string][]nats.Option{
		"a client without a certificate":               {trust},
		"a client with another authority's":            {trust, nats.ClientCert(theirCert, theirKey)},
		"a client that doesn't trust the server's":     {nats.RootCAs(theirs.file), nats.ClientCert(ourCert, ourKey)},
		"a client with a certificate and no TLS 1.3":   {trust, nats.ClientCert(ourCert, ourKey), func(o *nats.Options) error { o.TLSConfig.MaxVersion = tls.VersionTLS12; return nil }},
		"a client with a certificate and no password":  {trust, nats.ClientCert(ourCert, ourKey), nats.UserInfo("writer", "")},
		"a client with a certificate and a wrong user": {trust, nats.ClientCert(ourCert, ourKey), nats.UserInfo("root", "secret-of-WRITER")},
	} {
		nc, err := nats.Connect(s.URL(), append(writer.options(), options...)...)
		if err == nil {
			nc.Close()
			t.Errorf("%s connects", name)
		}
	}
}
