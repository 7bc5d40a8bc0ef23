package marathon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/taskwall/taskwall/events"
)

// embed asks for a group with all that is in it: the cheapest picture of apps
// and pods that is nearly of one moment (CLUSTER-API 2.1).
const embed = "?embed=group.apps&embed=group.pods&embed=group.groups"

// missingFor is how long a deployment may be missing before it is told to have
// ended, we know not how: the event of its end may still come.
const missingFor = 10 * time.Second

// rememberFor is how long an ended deployment is remembered.
const rememberFor = 10 * time.Minute

// snapshot compares everything.
func (s *session) snapshot(ctx context.Context) error {
	s.wants = wants{}
	began := s.cfg.Now()
	if err := s.readInfo(ctx); err != nil {
		return err
	}
	if err := s.readDeployments(ctx); err != nil {
		return err
	}
	if err := s.readGroup(ctx, "/"); err != nil {
		return err
	}
	s.tidy() // also when no session lasts
	s.lookForHidden()
	if err := s.flush(ctx); err != nil {
		return err
	}
	s.board.Update(func(st *Status) {
		st.Counters.Snapshots++
		st.Synced = s.cfg.Now()
	})
	s.last = s.cfg.Now()
	s.took = s.last.Sub(began)
	return nil
}

// fetch reads what events asked for.
func (s *session) fetch(ctx context.Context) error {
	ws := s.wants
	s.wants = wants{}
	if ws.many() {
		return s.snapshot(ctx)
	}
	if ws.info {
		if err := s.readInfo(ctx); err != nil {
			return err
		}
	}
	for _, v := range slices.SortedFunc(maps.Keys(ws.versions), func(a, b version) int {
		return cmp.Or(strings.Compare(a.id, b.id), strings.Compare(a.version, b.version))
	}) {
		if err := s.readVersion(ctx, v); err != nil {
			return err
		}
	}
	for _, id := range events.SortedKeys(ws.groups) {
		if err := s.readGroup(ctx, id); err != nil {
			return err
		}
	}
	for _, id := range events.SortedKeys(ws.apps) {
		if err := s.readApp(ctx, id); err != nil {
			return err
		}
	}
	for _, id := range events.SortedKeys(ws.pods) {
		if err := s.readPod(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) get(ctx context.Context, path string, v any) error {
	err := s.client.get(ctx, path, v)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil || errors.Is(err, errNotFound) {
		s.board.Update(func(st *Status) { st.Counters.Reads++ })
	}
	return err
}

func (s *session) readInfo(ctx context.Context) error {
	var w wireInfo
	if err := s.get(ctx, "/v2/info", &w); err != nil {
		return err
	}
	m, ok := s.limits.marathon(&w)
	if known := s.mirror.Picture().Marathon; known != nil && known.Framework != m.Framework && s.cfg.Active(known.Framework) {
		return fmt.Errorf("%w: %s says that it is framework %q; %q, whose apps are known, is active at Mesos. "+
			"Are these the right members? If that one is to end, tear it down", ErrForeign, s.client.leader.Host, m.Framework, known.Framework)
	}
	if ok { // or it never registered with Mesos: no task is its
		s.mirror.PutMarathon(m, time.Time{})
	}
	return nil
}

// readGroup compares a group and all below it. An app is taken for deleted only
// by an answer that is about a group that holds it, and whole: of what a user
// may not view Marathon says that there is none.
func (s *session) readGroup(ctx context.Context, id string) error {
	var w wireGroup
	path := "/v2/groups"
	if id != "/" {
		path += escape(id)
	}
	err := s.get(ctx, path+embed, &w)
	switch {
	case errors.Is(err, errNotFound) && id != "/":
		if len(s.below(id)) > 0 { // deleted, or hidden: the root tells
			s.wants.all = true
		}
		return nil
	case errors.Is(err, errForbidden) && id != "/":
		return s.forbidden(err)
	case err != nil:
		return err
	case w.ID == "" || absolute(w.ID) != id:
		return fmt.Errorf("answer of %s to %s: %w: it is about the group %q", s.client.leader.Host, path, ErrNotMarathon, w.ID)
	}
	found := map[string]bool{}
	s.putGroup(&w, found)
	// A root without a version is what Marathon answers to one who may view
	// nothing of it; every group that exists has one (CLUSTER-API 2.1).
	if !w.whole() || w.Version == "" {
		s.board.Update(func(st *Status) { st.Counters.Malformed++ })
		if s.odd.New("group "+id, s.cfg.Now()) {
			s.log.Warn("marathon: an answer about a group is not whole: nothing is taken for deleted. "+
				"May this user view all groups, apps and pods?", "group", id)
		}
		return nil
	}
	s.gone(id, found)
	if id == "/" {
		s.odd.Over()
	}
	return nil
}

// gone takes it that of a group Marathon shows only what was found.
func (s *session) gone(group string, found map[string]bool) {
	for _, app := range s.below(group) {
		if !found[app] {
			s.appGone(app)
		}
	}
}

// below are the known apps and pods of a group and of the groups in it, in order.
func (s *session) below(group string) (apps []string) {
	prefix := strings.TrimSuffix(group, "/") + "/"
	for _, app := range events.SortedKeys(s.mirror.Picture().Apps) {
		if strings.HasPrefix(app, prefix) {
			apps = append(apps, app)
		}
	}
	return apps
}

// missed takes it that Marathon says of an app or a pod that there is none. It
// says so too of what we may not view; a whole answer about its group tells.
func (s *session) missed(id string) {
	if _, known := s.mirror.Picture().Apps[id]; known {
		s.wants.group(parent(id))
	}
}

// parent is the group that holds an app or a pod.
func parent(id string) string {
	i := strings.LastIndexByte(id, '/')
	return cmp.Or(id[:max(i, 0)], "/")
}

// putGroup takes what is in a group and below it, but nothing that is elsewhere.
func (s *session) putGroup(w *wireGroup, found map[string]bool) {
	for i := range w.Apps {
		if a, ok := s.limits.app(&w.Apps[i]); ok && w.holds(a.ID) {
			found[a.ID] = true
			s.putApp(a)
		}
	}
	for i := range w.Pods {
		if a, ok := s.limits.pod(&w.Pods[i].Spec); ok && w.holds(a.ID) {
			found[a.ID] = true
			s.putApp(a)
		}
	}
	for i := range w.Groups {
		if w.holds(w.Groups[i].ID) {
			s.putGroup(&w.Groups[i], found)
		}
	}
}

// putApp takes an app as Marathon shows it. Its version may be older than the
// one that is known
//
//   - while a deployment is under way that brings the newer one: not yet;
//   - after such a deployment has failed: at once;
//   - from a Marathon that leads no longer and does not know it yet: not
//     before it has shown it for a while;
//   - because the clock of a new leader is behind the former's: then as well.
func (s *session) putApp(a events.App) {
	known, had := s.mirror.Picture().Apps[a.ID]
	_, wasAhead := s.ahead[a.ID]
	switch v, is := s.isAhead(a.ID); {
	case is && older(a.Version, v):
		return
	case had && !wasAhead && older(a.Version, known.Version):
		now := s.cfg.Now()
		since, seen := s.behind[a.ID]
		if !seen {
			s.behind[a.ID] = now
		}
		if !seen || now.Sub(since) < doubtFor {
			return
		}
	}
	delete(s.ahead, a.ID)
	delete(s.behind, a.ID)
	s.mirror.PutApp(a, timestamp(a.Version))
}

// doubtFor is how long Marathon must show an older version of an app than the
// known one before it is believed.
const doubtFor = 10 * time.Second

// doubts asks for the apps again whose older versions are in doubt.
func (s *session) doubts() {
	for id, since := range s.behind {
		switch a, had := s.mirror.Picture().Apps[id]; {
		case !had:
			delete(s.behind, id)
		case s.cfg.Now().Sub(since) < doubtFor:
		case a.Pod:
			want(&s.wants.pods, id)
		default:
			s.wants.app(id)
		}
	}
}

// appGone takes it that Marathon does not show an app.
func (s *session) appGone(id string) {
	if _, is := s.isAhead(id); is {
		return
	}
	delete(s.ahead, id)
	delete(s.behind, id)
	s.mirror.AppGone(id, "deleted", time.Time{})
}

// isAhead is the version of an app that Marathon may not show yet, because its
// deployment is under way.
func (s *Source) isAhead(app string) (string, bool) {
	v, is := s.ahead[app]
	if is {
		_, is = s.mirror.Picture().Deployments[v.deployment]
	}
	return v.version, is
}

func (s *session) readApp(ctx context.Context, id string) error {
	var w struct {
		App wireApp `json:"app"`
	}
	err := s.get(ctx, "/v2/apps"+escape(id), &w)
	if errors.Is(err, errNotFound) {
		if a, had := s.mirror.Picture().Apps[id]; had && a.Pod {
			return s.readPod(ctx, id)
		}
		s.missed(id)
		return nil
	}
	if errors.Is(err, errForbidden) {
		return s.forbidden(err)
	}
	a, ok := s.limits.app(&w.App)
	return s.putRead(id, a, ok, err)
}

func (s *session) readPod(ctx context.Context, id string) error {
	var w wirePod
	err := s.get(ctx, "/v2/pods"+escape(id), &w)
	if errors.Is(err, errNotFound) {
		s.missed(id)
		return nil
	}
	if errors.Is(err, errForbidden) {
		return s.forbidden(err)
	}
	a, ok := s.limits.pod(&w)
	return s.putRead(id, a, ok, err)
}

// putRead takes an app that was read by its id. An answer of 200 that is not
// about it says nothing of it; then everything is read, so that the change that
// was announced is not missed until the next comparison.
func (s *session) putRead(id string, a events.App, ok bool, err error) error {
	switch {
	case err != nil:
		return err
	case ok && a.ID == id:
		s.putApp(a)
	default:
		s.board.Update(func(st *Status) { st.Counters.Malformed++ })
		s.log.Warn("marathon: an answer is not about the app that was asked for: reading everything", "app", id, "answer", a.ID)
		s.wants.all = true
	}
	return nil
}

// readVersion reads one version of an app, which never changes, so once.
// There may be none: a deployment also names apps that it only restarts.
func (s *session) readVersion(ctx context.Context, v version) error {
	key := v.id + " " + v.version
	if s.versions[key] {
		return nil
	}
	var (
		app wireApp
		pod wirePod
		a   events.App
		ok  bool
		err error
	)
	if v.pod {
		err = s.get(ctx, "/v2/pods"+escape(v.id)+"::versions/"+url.PathEscape(v.version), &pod)
		a, ok = s.limits.pod(&pod)
	} else {
		err = s.get(ctx, "/v2/apps"+escape(v.id)+"/versions/"+url.PathEscape(v.version), &app)
		a, ok = s.limits.app(&app)
	}
	switch {
	case errors.Is(err, errForbidden):
		return s.forbidden(err)
	case err != nil && !errors.Is(err, errNotFound):
		return err
	}
	if len(s.versions) >= maxVersions {
		clear(s.versions)
	}
	s.versions[key] = true
	if err != nil || !ok || a.ID != v.id {
		return nil
	}
	known, had := s.mirror.Picture().Apps[a.ID]
	if _, underWay := s.mirror.Picture().Deployments[v.deployment]; underWay && (!had || older(known.Version, a.Version)) {
		s.ahead[a.ID] = v
		delete(s.behind, a.ID)
		s.mirror.PutApp(a, timestamp(a.Version))
	}
	return nil
}

// maxVersions bounds the memory of versions read.
const maxVersions = 10_000

// readDeployments compares the deployments under way.
func (s *session) readDeployments(ctx context.Context) error {
	var ws list[wireDeployment]
	if err := s.get(ctx, "/v2/deployments", &ws); err != nil {
		return err
	}
	listed := map[string]bool{}
	for i := range ws {
		d, ok := s.limits.deployment(&ws[i])
		if _, over := s.ended[d.ID]; !ok || over {
			continue
		}
		listed[d.ID] = true
		delete(s.missing, d.ID)
		d.Client = s.clientOf(&d)
		s.mirror.PutDeployment(d, timestamp(d.Version))
	}
	for id := range s.mirror.Picture().Deployments {
		if _, already := s.missing[id]; !listed[id] && !already {
			s.missing[id] = s.cfg.Now()
		}
	}
	return nil
}

// tidy tells of deployments that have been missing for long enough.
func (s *Source) tidy() {
	now := s.cfg.Now()
	for _, id := range events.SortedKeys(s.missing) {
		if now.Sub(s.missing[id]) < missingFor {
			continue
		}
		delete(s.missing, id)
		if d, had := s.mirror.Picture().Deployments[id]; had {
			d.State = "ended"
			s.mirror.PutDeployment(d, time.Time{})
			s.over(id)
		}
	}
	for id, at := range s.ended {
		if now.Sub(at) > rememberFor {
			delete(s.ended, id)
		}
	}
}

// escape is an absolute app or group id as part of a URL's path.
func escape(id string) string {
	return (&url.URL{Path: id}).EscapedPath()
}
