// Three workspaces in three subscriptions, read through the parser functions that are saved there.
using '../../../infra/main.bicep'

param environmentName = 'detection'
param location = 'westeurope'
param workspaceResourceId = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-sentinel/providers/Microsoft.OperationalInsights/workspaces/log-sentinel'
param moreWorkspaceResourceIds = '/subscriptions/44444444-4444-4444-4444-444444444444/resourceGroups/rg-two/providers/Microsoft.OperationalInsights/workspaces/log-two, /subscriptions/55555555-5555-5555-5555-555555555555/resourceGroups/rg-three/providers/Microsoft.OperationalInsights/workspaces/log-three'
param parsers = 'alias'
param webhookUrl = 'https://hooks.slack.com/services/made-up'
param webhookFormat = 'slack'
