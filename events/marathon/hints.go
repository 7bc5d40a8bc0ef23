package marathon

import (
	"encoding/json"
	"strings"

	"github.com/taskwall/taskwall/events/mirror"
)

// malformed is the type given to an event that could not be decoded.
const malformed = "malformed"

// wants are the reads that events ask for.
type wants struct {
	all      bool            // everything
	info     bool            // what Marathon says of itself
	groups   map[string]bool // by id
	apps     map[string]bool // by id
	pods     map[string]bool // by id
	versions map[version]bool
}

// version names one version of an app or pod, and the deployment that brings it.
type version struct {
	id, version, deployment string
	pod                     bool
}

func (w *wants) empty() bool {
	return !w.all && !w.info && len(w.groups)+len(w.apps)+len(w.pods)+len(w.versions) == 0
}

// maxWants is how many single reads are made before one of everything is
// cheaper.
const maxWants = 64

// many reports whether everything is to be read.
func (w *wants) many() bool {
	return w.all || w.groups["/"] || len(w.groups)+len(w.apps)+len(w.pods)+len(w.versions) > maxWants
}

// group asks for a group, or for one above it that can be read: Marathon takes
// the paths of some for another question. GET /v2/groups/shop/apps lists the apps
// of /shop ([M] MS/api/v2/GroupsResource.scala).
func (w *wants) group(id string) {
	for strings.HasSuffix(id, "/apps") || strings.Contains(id+"/", "/versions/") {
		id = parent(id)
	}
	want(&w.groups, id)
}

// app asks for an app, or for its group where its path means something else.
func (w *wants) app(id string) {
	if strings.Contains(id, "/tasks/") || strings.Contains(id, "/versions/") {
		w.group(parent(id))
	} else {
		want(&w.apps, id)
	}
}

func want[K comparable](m *map[K]bool, k K) {
	if *m == nil {
		*m = map[K]bool{}
	}
	(*m)[k] = true
}

// hint notes what an event points to. What it says of itself is believed only
// of a deployment.
func (s *Source) hint(w *wireEvent, ws *wants) {
	switch w.Type {
	case "event_stream_attached":
	case "group_change_success":
		// Published when the change can be read; the group is the parent of
		// what changed (CLUSTER-API 1.4).
		ws.group(absolute(w.GroupID))
	case "api_post_event":
		if w.Definition != nil && w.Definition.ID != "" {
			ws.app(absolute(w.Definition.ID))
			s.postedBy(posted{absolute(w.Definition.ID), timestamp(w.Definition.Version)}, s.limits.Name(w.ClientIP))
		} else {
			ws.all = true
		}
	case "app_terminated_event":
		ws.app(absolute(w.AppID)) // or a pod: then there is no such app
	case "pod_created_event", "pod_updated_event", "pod_deleted_event":
		// A creation's URI is that of all pods.
		if id := strings.TrimPrefix(w.URI, "/v2/pods/"); id != w.URI && id != "" {
			want(&ws.pods, absolute(id))
		} else {
			ws.all = true
		}
	case "deployment_info", "deployment_step_success", "deployment_step_failure":
		s.deploys(w, ws)
	case "deployment_success":
		s.deployed(w, "succeeded", ws)
	case "deployment_failed":
		s.deployed(w, "failed", ws)
	case "scheduler_registered_event", "scheduler_reregistered_event":
		ws.info = true
	case malformed:
		ws.all = true
	default:
		s.board.Update(func(st *Status) { st.Counters.Unknown++ })
	}
}

// deploys tells of a deployment under way. It begins before what it deploys
// can be read as the app's current version, but not before that version can be
// read by its name (CLUSTER-API 1.5).
func (s *Source) deploys(w *wireEvent, ws *wants) {
	if w.Plan == nil || w.Plan.ID == "" {
		return
	}
	d, ok := s.limits.deployment(w.Plan)
	if _, over := s.ended[d.ID]; !ok || over {
		return
	}
	delete(s.missing, d.ID)
	d.Client = s.clientOf(&d)
	s.mirror.PutDeployment(d, timestamp(w.Timestamp))
	for _, step := range w.Plan.Steps {
		for _, a := range step {
			v := version{id: a.target(), version: w.Plan.Version, deployment: d.ID, pod: a.Pod != ""}
			if strings.HasPrefix(v.id, "/") && older(s.mirror.Picture().Apps[v.id].Version, v.version) {
				want(&ws.versions, v)
			}
		}
	}
}

// deployed tells how a deployment ended, and of its beginning, if that was
// missed.
func (s *Source) deployed(w *wireEvent, state string, ws *wants) {
	id := w.ID
	if id == "" && w.Plan != nil {
		id = w.Plan.ID
	}
	d, known := s.mirror.Picture().Deployments[id]
	if !known && w.Plan != nil {
		s.deploys(w, ws)
		d, known = s.mirror.Picture().Deployments[id]
	}
	if known {
		d.State, d.Reason = state, s.limits.reason(w.Reason)
		s.mirror.PutDeployment(d, timestamp(w.Timestamp))
		for _, app := range d.Apps {
			if strings.HasPrefix(app, "/") { // Marathon's ids all do (CLUSTER-API 1.3)
				ws.app(app)
			}
		}
	}
	delete(s.missing, id)
	s.over(id)
}

// maxEnded bounds the memory of ended deployments: some hundred a second for as
// long as each is remembered.
const maxEnded = 100_000

// over remembers that a deployment has ended.
func (s *Source) over(id string) {
	if len(id) > mirror.MaxText {
		return // it is in no picture
	}
	if len(s.ended) >= maxEnded {
		clear(s.ended)
	}
	s.ended[id] = s.cfg.Now()
}

// reason is a text, or what was written instead of one.
func (l *limits) reason(b json.RawMessage) string {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		text = string(b)
	}
	return l.Text(text)
}

// older reports whether version a came before b: versions are times.
func older(a, b string) bool { return timestamp(a).Before(timestamp(b)) }

// absolute is an id with the slash that it begins with.
func absolute(id string) string {
	if !strings.HasPrefix(id, "/") {
		return "/" + id
	}
	return id
}
