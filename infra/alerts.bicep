// Alarms on the job itself. Each is a query over the lines that the job logs (docs/schemas/line.*.json), in a file of
// its own under alerts/, and is raised by every row that the query returns.
param location string
param tags { *: string }
param token string

@description('The job\'s Application Insights.')
param insightsId string

@description('E-mail addresses that are told.')
param emails string[]

@description('Action group of others that is told as well; none if empty.')
param actionGroupResourceId string

// window and every: the service takes only these values of windowSize: PT1M, PT5M, PT10M, PT15M, PT30M, PT45M, PT1H to
// PT6H by the hour, P1D, P2D; and of evaluationFrequency the same up to P1D.
var alarms = [
  {
    name: 'no-complete-run'
    title: 'Detection: no complete run for two and a half hours'
    description: 'Nothing is being detected. Once a run completes, it reads what was missed.'
    severity: 1
    window: 'PT3H'
    every: 'PT15M'
    query: loadTextContent('alerts/no-complete-run.kql')
  }
  {
    name: 'failed-twice'
    title: 'Detection: two runs in a row have failed'
    description: 'The rows name the rule, the kind of error and the reason.'
    severity: 2
    window: 'PT3H'
    every: 'PT15M'
    query: loadTextContent('alerts/failed-twice.kql')
  }
  {
    name: 'undelivered'
    title: 'Detection: a message was given up, or has waited for more than half an hour'
    description: 'Alerts are found and kept, but the destination in the row does not take them.'
    severity: 1
    window: 'P1D'
    every: 'PT15M'
    query: loadTextContent('alerts/undelivered.kql')
  }
  {
    name: 'gap-or-lag'
    title: 'Detection: a run left a gap, or began more than three hours behind'
    description: 'A lag is caught up by itself. A gap was not read: python -m detection run --from … --to … reads it.'
    severity: 2
    window: 'PT6H'
    every: 'PT30M'
    query: loadTextContent('alerts/gap-or-lag.kql')
  }
  {
    name: 'silent-sources'
    title: 'Detection: no row of either log for 24 hours'
    description: 'The connector or its tables have stopped: no alert now means nothing.'
    severity: 2
    window: 'PT6H'
    every: 'PT30M'
    query: loadTextContent('alerts/silent-sources.kql')
  }
  {
    name: 'coverage-fallen'
    title: 'Detection: far fewer are named whom the audit log knows than a day before'
    description: 'Callers have stopped to set user, or set it otherwise, or changes come by API key: what they do cannot be seen.'
    severity: 3
    window: 'P2D'
    every: 'PT1H'
    query: loadTextContent('alerts/coverage-fallen.kql')
  }
]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-detection-${token}'
  location: 'Global'
  tags: tags
  properties: {
    groupShortName: 'detection'
    enabled: true
    emailReceivers: [
      for (email, i) in emails: {
        name: 'email-${i}'
        emailAddress: trim(email)
        useCommonAlertSchema: true
      }
    ]
  }
}

resource rules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for alarm in alarms: {
    name: 'detection-${alarm.name}-${token}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: alarm.title
      description: alarm.description
      severity: alarm.severity
      enabled: true
      scopes: [insightsId]
      windowSize: alarm.window
      evaluationFrequency: alarm.every
      autoMitigate: true // resolved when the query returns no row any more
      criteria: {
        allOf: [
          {
            query: alarm.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: {
        actionGroups: empty(actionGroupResourceId) ? [people.id] : [people.id, actionGroupResourceId]
      }
    }
  }
]
