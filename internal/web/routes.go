package web

import (
	"net/http"

	"nocturne/internal/access"
	"nocturne/views/static"
)

// site is the pages and interfaces being put together. The right stands beside
// each path.
type site struct {
	s   *Server
	mux *http.ServeMux
}

func (x site) open(pattern string, h handler)       { x.mux.Handle(pattern, x.s.handle(h)) }
func (x site) view(pattern string, h handler)       { x.may("view", pattern, h) }
func (x site) ack(pattern string, h handler)        { x.may("ack", pattern, h) }
func (x site) run(pattern string, h handler)        { x.may("run", pattern, h) }
func (x site) configure(pattern string, h handler)  { x.may("configure", pattern, h) }
func (x site) administer(pattern string, h handler) { x.may("administer", pattern, h) }

func (x site) may(right access.Action, pattern string, h handler) {
	x.mux.Handle(pattern, x.s.may(right, x.s.handle(h)))
}

// routes builds the whole site.
func (s *Server) routes() http.Handler {
	x := site{s, http.NewServeMux()}
	s.anybody(x)
	s.pages(x)
	s.administrators(x)
	s.programs(x)
	x.open("/", func(http.ResponseWriter, *http.Request) error { return notFound{"page of that name"} })
	return s.outside(s.secured(crossOrigin().Handler(s.authenticated(x.mux))))
}

// anybody adds what needs no sign-in.
func (s *Server) anybody(x site) {
	x.mux.Handle("GET "+static.Prefix, static.Handler())
	x.mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { s.Exposition(w) })
	x.open("GET /healthz", s.healthz)
	x.open("GET /readyz", s.readyz)
	x.open("GET /login", s.loginPage)
	x.open("POST /login", s.login)
	x.open("POST /logout", s.logout)
	x.open("GET /setup", s.setupPage)
	x.open("POST /setup", s.setup)
	x.open("POST /theme", s.setTheme)
}

// pages adds what people look at and do.
func (s *Server) pages(x site) {
	x.view("GET /{$}", s.overview)
	x.view("GET /devices", s.devices)
	x.view("GET /device/{id...}", s.device)
	x.configure("POST /maintenance", s.startMaintenance)
	x.configure("POST /maintenance/end", s.endMaintenance)
	x.run("POST /poll", s.pollNow)
	x.view("GET /racks", s.rackWall)
	x.view("GET /rack/{id...}", s.rack)
	x.view("GET /topology", s.topology)
	x.view("GET /alerts", s.alerts)
	x.view("GET /alerts/{fingerprint}", s.alert)
	x.ack("POST /alerts/{fingerprint}/ack", s.ackAlert)
	x.ack("POST /alerts/{fingerprint}/close", s.closeAlert)
	x.view("GET /incidents/{id}", s.incident)
	x.view("GET /jobs", s.jobs)
	x.view("GET /jobs/{id}", s.job)
	x.run("GET /jobs/new", s.jobForm)
	x.run("POST /jobs", s.startJob)
	x.run("POST /jobs/{id}/cancel", s.cancelJob)
	x.view("GET /reports", s.reports)
	x.view("GET /reports/{id}", s.report)
	x.run("POST /reports", s.runInspection)
	x.view("GET /inventory", s.inventory)
	x.view("GET /inventory/{id...}", s.item)
	x.view("GET /inventory/export", s.exportInventory)
	x.configure("GET /inventory/import", s.importForm)
	x.configure("POST /inventory/import", s.importInventory)
}

// administrators adds the pages about the program itself.
func (s *Server) administrators(x site) {
	x.view("GET /admin", s.administration)
	x.administer("GET /admin/people", s.people)
	x.administer("POST /admin/people", s.addPerson)
	x.administer("POST /admin/people/{name}/role", s.setRole)
	x.administer("POST /admin/people/{name}/password", s.setPassword)
	x.administer("POST /admin/people/{name}/disable", s.disablePerson)
	x.administer("GET /admin/tokens", s.tokens)
	x.administer("POST /admin/tokens", s.addToken)
	x.administer("POST /admin/tokens/{name}/revoke", s.revokeToken)
	x.administer("GET /admin/credentials", s.credentials)
	x.administer("POST /admin/credentials", s.putCredential)
	x.administer("POST /admin/credentials/{name}/delete", s.deleteCredential)
	x.administer("GET /admin/configuration", s.configurationPage)
	x.administer("POST /admin/configuration/reload", s.reloadConfiguration)
	x.administer("POST /admin/key/rotate", s.rotateKey)
	x.administer("GET /admin/audit", s.audit)
	x.administer("POST /admin/audit/verify", s.verifyLedger)
	x.view("GET /admin/targets", s.targets)
	x.view("GET /admin/rules", s.rules)
	x.view("GET /admin/history", s.historyPage)
	x.view("GET /admin/appliance", s.appliancePage)
	x.view("GET /admin/about", s.about)

	x.administer("GET /debug/pprof/", s.profile)
}

// programs adds what other programs ask.
func (s *Server) programs(x site) {
	x.view("GET /live", s.live)
	x.mux.Handle("POST /api/v1/write", s.may("write", s.handle(s.write)))
	prometheus := s.prometheus()
	x.mux.Handle("/api/v1/", s.may("view", prometheus))
	x.mux.Handle("POST /api/v1/admin/", s.may("administer", prometheus))
	x.mux.Handle("PUT /api/v1/admin/", s.may("administer", prometheus))
	x.mux.Handle("GET /federate", s.may("view", prometheus))
	x.mux.Handle("OPTIONS /api/v1/", prometheus) // asked before a token is sent
	x.open("GET /-/healthy", s.healthy)
	x.open("GET /-/ready", s.ready)
	s.api(x.mux)
}
