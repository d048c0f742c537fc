// No editor, no admin interface, only warnings: what a flow needs to run and nothing else.
'use strict';
module.exports = {
  flowFile: 'flow.json',
  disableEditor: true,
  httpAdminRoot: false,
  httpNodeRoot: false,
  telemetry: { enabled: false, updateNotification: false },
  logging: { console: { level: 'warn', metrics: false, audit: false } },
  credentialSecret: false,
};
