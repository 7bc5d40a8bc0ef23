package bus

import (
	"fmt"
	"strings"
	"time"

	"github.com/taskwall/taskwall/events"
)

// The accounts of the bus.
const (
	controlAccount = "CONTROL"
	hostsAccount   = "HOSTS"
	auditAccount   = "AUDIT"
	peopleAccount  = "PEOPLE"
)

// maxPayload is the largest message of a server that we configure, in bytes.
// NATS' own default, 1 MiB, is too small for a change of ten thousand policies.
const maxPayload = 8 << 20

// ServerOptions configure a server. A stand-alone nats-server takes Accounts.
type ServerOptions struct {
	// Name is the server's; it must be unique in a cluster. Default "taskwall".
	Name string
	// Dir is where JetStream keeps its files.
	Dir string
	// Listen is the address for clients, "host:port"; port -1 takes a free one.
	// Empty: in-process connections only.
	Listen string
	// TLS, when set, is required of every client.
	TLS *TLSFiles
	// Users may connect. Nil lets everyone in, with all rights: only for tests
	// and demonstrations on loopback.
	Users *Users
	// Cluster joins several servers.
	Cluster *ClusterOptions
	// SyncInterval is how often writes are synced to disk; zero syncs each
	// write before it is acknowledged.
	SyncInterval time.Duration
	// MaxStore bounds the disk space of all streams in bytes; zero leaves it to
	// the server (three quarters of what is free).
	MaxStore int64
}

// TLSFiles name PEM files. With CA the other side must show a certificate
// that it has signed.
type TLSFiles struct {
	Cert, Key, CA string
}

// ClusterOptions make a server one of several.
type ClusterOptions struct {
	Name   string   // the same on all
	Listen string   // address for the other servers
	Routes []string // nats://host:port of all
	TLS    *TLSFiles
}

// config is the configuration of a nats-server that does what the options say.
func config(o ServerOptions) (string, error) {
	var b strings.Builder
	name := o.Name
	if name == "" {
		name = "taskwall"
	}
	fmt.Fprintf(&b, "server_name: %q\n", name)
	if o.Listen != "" {
		fmt.Fprintf(&b, "listen: %q\n", o.Listen)
	}
	fmt.Fprintf(&b, "max_payload: %d\n", maxPayload)
	b.WriteString("ping_interval: \"10s\"\nwrite_deadline: \"10s\"\n")
	writeTLS(&b, o.TLS)
	fmt.Fprintf(&b, "jetstream {\n  store_dir: %q\n", o.Dir)
	if o.SyncInterval == 0 {
		b.WriteString("  sync_interval: always\n")
	} else {
		fmt.Fprintf(&b, "  sync_interval: %q\n", o.SyncInterval)
	}
	if o.MaxStore > 0 {
		fmt.Fprintf(&b, "  max_file_store: %d\n", o.MaxStore)
	}
	b.WriteString("}\n")
	if c := o.Cluster; c != nil {
		fmt.Fprintf(&b, "cluster {\n  name: %q\n  listen: %q\n", c.Name, c.Listen)
		writeTLS(&b, c.TLS)
		b.WriteString("  routes: [\n")
		for _, r := range c.Routes {
			fmt.Fprintf(&b, "    %q\n", r)
		}
		b.WriteString("  ]\n}\n")
	}
	if o.Users != nil {
		accounts, err := Accounts(o.Users)
		if err != nil {
			return "", err
		}
		b.WriteString(accounts)
	}
	return b.String(), nil
}

// Accounts is the part of a nats-server's configuration that says what each
// user may do, for servers whose other settings are the operator's own. These
// servers need JetStream and a max_payload of 8 MiB.
func Accounts(u *Users) (string, error) {
	if err := u.Validate(); err != nil {
		return "", fmt.Errorf("users of the message bus: %w", err)
	}
	var b strings.Builder
	writeAccounts(&b, u)
	return b.String(), nil
}

func writeTLS(b *strings.Builder, t *TLSFiles) {
	if t == nil {
		return
	}
	fmt.Fprintf(b, "tls {\n  cert_file: %q\n  key_file: %q\n", t.Cert, t.Key)
	if t.CA != "" {
		fmt.Fprintf(b, "  ca_file: %q\n  verify: true\n", t.CA)
	}
	b.WriteString("}\n")
}

// auditAPI are the JetStream requests that only read. A consumer can be aimed
// at any subject, so making one does not count as reading.
var auditAPI = []string{"STREAM.INFO.*", "DIRECT.GET.*", "DIRECT.GET.*.>"}

// neverAPI are the JetStream requests that nobody makes, the controller neither:
// a stream is never removed, nor a message of one.
var neverAPI = []string{"STREAM.DELETE.*", "STREAM.MSG.DELETE.*"}

// The auditor's account has the requests under a prefix of its own: under the
// usual one the server answers itself, that the account has no JetStream.
const (
	apiPrefix   = "$JS.API."
	auditPrefix = "taskwall.audit."
)

// viewing are the requests to the controller that change nothing.
var viewing = []string{StatusRequest, PolicyGetRequest, SessionsRequest, RoutesRequest}

// saying are the subjects on which agents publish, each on its own of them.
var saying = []string{reportsPrefix + "*", catchupPrefix + "*", alivePrefix + "*"}

// answerTime is how long the server keeps the way back for an answer: a policy
// change may wait for many hosts.
const answerTime = time.Hour

func writeAccounts(b *strings.Builder, u *Users) {
	fmt.Fprintf(b, "accounts {\n  %s {\n    jetstream: enabled\n    users: [{nkey: %s, permissions: {publish: {deny: [", controlAccount, u.Controller)
	for _, s := range neverAPI {
		fmt.Fprintf(b, "%q, ", apiPrefix+s)
	}
	b.WriteString("]}}}]\n    exports: [\n")
	fmt.Fprintf(b, "      {stream: %q, accounts: [%s]}\n", livePrefix+"*", hostsAccount)
	for _, s := range saying {
		fmt.Fprintf(b, "      {service: %q, accounts: [%s]}\n", s, hostsAccount)
	}
	for _, s := range auditAPI {
		fmt.Fprintf(b, "      {service: %q, response: stream, accounts: [%s]}\n", apiPrefix+s, auditAccount)
	}
	fmt.Fprintf(b, "      {service: %q, threshold: %q, accounts: [%s]}\n", apiRequests+">", answerTime, peopleAccount)
	fmt.Fprintf(b, "    ]\n  }\n  %s {\n    imports: [\n", hostsAccount)
	fmt.Fprintf(b, "      {stream: {account: %s, subject: %q}}\n", controlAccount, livePrefix+"*")
	for _, s := range saying {
		fmt.Fprintf(b, "      {service: {account: %s, subject: %q}}\n", controlAccount, s)
	}
	b.WriteString("    ]\n    users: [\n")
	for _, host := range events.SortedKeys(u.Agents) {
		fmt.Fprintf(b, "      {nkey: %s, permissions: {publish: [%q, %q, %q], subscribe: [%q, %q]}}\n",
			u.Agents[host], ReportsSubject(host), CatchupSubject(host), AliveSubject(host), LiveSubject(host), inboxPrefix(host)+".>")
	}
	fmt.Fprintf(b, "    ]\n  }\n  %s {\n    imports: [{service: {account: %s, subject: %q}}]\n    users: [\n", peopleAccount, controlAccount, apiRequests+">")
	writePeople(b, u.Operators, []string{apiRequests + ">"})
	writePeople(b, u.Viewers, viewing)
	fmt.Fprintf(b, "    ]\n  }\n  %s {\n    imports: [\n", auditAccount)
	for _, s := range auditAPI {
		fmt.Fprintf(b, "      {service: {account: %s, subject: %q}, to: %q}\n", controlAccount, apiPrefix+s, auditPrefix+s)
	}
	b.WriteString("    ]\n    users: [")
	if u.Auditor != "" {
		fmt.Fprintf(b, "{nkey: %s}", u.Auditor)
	}
	b.WriteString("]\n  }\n}\n")
}

// writePeople writes users who may make some requests, and hear the answers.
func writePeople(b *strings.Builder, keys map[string]string, requests []string) {
	for _, name := range events.SortedKeys(keys) {
		fmt.Fprintf(b, "      {nkey: %s, permissions: {publish: [", keys[name])
		for _, r := range requests {
			fmt.Fprintf(b, "%q, ", r)
		}
		fmt.Fprintf(b, "], subscribe: [%q]}}\n", inboxPrefix(keys[name])+".>")
	}
}

// inboxPrefix is where answers to the requests of a user, a host by its name or
// a person by the public key, go: nobody else in its account may listen there.
func inboxPrefix(user string) string { return "_INBOX_" + Token(user) }
