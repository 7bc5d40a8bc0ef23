package bus_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

// Streams are set up again at every start, with whatever retention is
// configured then: what they hold stays.
func TestStreamsAreBroughtUpToDate(t *testing.T) {
	ctx := bustest.Context(t)
	c := bustest.Streams(t)
	for _, subject := range []string{bus.EventsSubject, bus.WorkSubject("h"), bus.ReportsSubject("h"), bus.CheckpointsSubject, bus.SnapshotSubject(1)} {
		if _, err := c.JS.Publish(ctx, subject, []byte("kept")); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []bus.Retention{{}, {MaxAge: time.Hour, MaxBytes: 1 << 20}, {MaxAge: time.Minute}, {}} {
		if err := bus.EnsureStreams(ctx, c.JS, r, 1); err != nil {
			t.Fatalf("with %+v: %v", r, err)
		}
		want := r.MaxAge
		if want == 0 {
			want = 400 * 24 * time.Hour
		}
		for _, name := range []string{bus.EventsStream, bus.WorkStream, bus.ReportsStream} {
			u, err := bus.StreamUsage(ctx, c.JS, name)
			if err != nil || u.MaxAge != want || u.Last != 1 || (u.MaxBytes > 0) != (r.MaxBytes > 0) {
				t.Errorf("with %+v: %+v, %v", r, u, err)
			}
		}
	}
	for _, name := range []string{bus.CheckpointsStream, bus.SnapshotsStream} { // not bound by the log's retention
		if u, err := bus.StreamUsage(ctx, c.JS, name); err != nil || u.MaxAge != 0 || u.Last != 1 {
			t.Errorf("%+v, %v", u, err)
		}
	}
}

func TestStreamsGrowFromOneReplicaToThree(t *testing.T) {
	ctx := bustest.Context(t)
	c := bustest.ConnectNodes(t, bustest.Cluster(t, 3))
	for _, name := range []string{bus.EventsStream, bus.WorkStream, bus.SnapshotsStream, bus.ReportsStream, bus.CheckpointsStream, bus.PositionsStream} {
		if err := c.JS.DeleteStream(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := bus.EnsureStreams(ctx, c.JS, bus.Retention{}, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := c.JS.Publish(ctx, bus.WorkSubject("h"), []byte("kept")); err != nil {
		t.Fatal(err)
	}
	if err := bus.EnsureStreams(ctx, c.JS, bus.Retention{}, 3); err != nil {
		t.Fatal(err)
	}
	cfg, err := bus.StreamConfig(ctx, c.JS, bus.WorkStream)
	if err != nil || cfg.Replicas != 3 || !cfg.AllowAtomicPublish {
		t.Errorf("the stream is %+v, %v", cfg, err)
	}
	if s, err := bus.StreamState(ctx, c.JS, bus.WorkStream); err != nil || s.Msgs != 1 {
		t.Errorf("the stream holds %+v, %v", s, err)
	}
}

// certificate writes one for 127.0.0.1, signed by itself, and its key.
func certificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: kder}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	serverCert, serverKey := certificate(t, dir, "server")
	clientCert, clientKey := certificate(t, dir, "client")
	s := bustest.Server(t, func(o *bus.ServerOptions) {
		o.TLS = &bus.TLSFiles{Cert: serverCert, Key: serverKey, CA: clientCert}
	})
	connect := func(files *bus.TLSFiles) error {
		ctx, cancel := contextWithin(t, time.Second)
		defer cancel()
		c, err := bus.Connect(ctx, bus.Options{URLs: []string{s.URL()}, TLS: files})
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := connect(&bus.TLSFiles{CA: serverCert, Cert: clientCert, Key: clientKey}); err != nil {
		t.Errorf("with the right certificates: %v", err)
	}
	for name, files := range map[string]*bus.TLSFiles{
		"an unknown server":            {CA: clientCert, Cert: clientCert, Key: clientKey},
		"no certificate of the client": {CA: serverCert},
		"no files":                     nil,
	} {
		if err := connect(files); err == nil || !strings.Contains(err.Error(), "tls") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Certificates are renewed while the server runs and its clients are connected.
func TestCertificatesAreRenewed(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, "server")
	seed, public, err := bus.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	users := &bus.Users{Controller: public}
	s := bustest.Server(t, func(o *bus.ServerOptions) {
		o.Users, o.TLS = users, &bus.TLSFiles{Cert: cert, Key: key}
	})
	trusted := filepath.Join(dir, "trusted.crt")
	trust := func() {
		t.Helper()
		text, err := os.ReadFile(cert)
		if err == nil {
			err = os.WriteFile(trusted, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	trust()
	connect := func() (*bus.Conn, error) {
		ctx, cancel := contextWithin(t, 2*time.Second)
		defer cancel()
		return bus.Connect(ctx, bus.Options{URLs: []string{s.URL()}, NKeySeed: seed, TLS: &bus.TLSFiles{CA: trusted}})
	}
	old, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()

	certificate(t, dir, "server") // the same files
	if err := s.SetUsers(users); err != nil {
		t.Fatal(err)
	}
	if c, err := connect(); err == nil {
		c.Close()
		t.Error("the server still shows the old certificate")
	}
	if _, err := old.JS.AccountInfo(bustest.Context(t)); err != nil {
		t.Errorf("who was connected: %v", err)
	}
	trust()
	c, err := connect()
	if err != nil {
		t.Fatalf("with the new certificate: %v", err)
	}
	c.Close()
	// Who was connected reads its files again when it reconnects.
	back := make(chan struct{}, 1)
	defer old.OnReconnect(func() { back <- struct{}{} })()
	if err := old.NATS.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-back:
	case <-time.After(30 * time.Second):
		t.Error("who was connected does not come back")
	}
}
