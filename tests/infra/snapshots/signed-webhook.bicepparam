// A signed webhook, and a job that reaches back as far as it can.
using '../../../infra/main.bicep'

param environmentName = 'detection'
param location = 'westeurope'
param workspaceResourceId = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-sentinel/providers/Microsoft.OperationalInsights/workspaces/log-sentinel'
param webhookUrl = 'https://example.webhook.office.com/made-up'
param webhookFormat = 'teams'
param webhookSecret = 'whsec_made-up'
param rules = 'openai-config-to-abuse,copilot-config-to-abuse'
param allowedLateness = 'P2D'
param maxCatchUp = 'P24D'
param stormAlerts = 1
param floodSignals = 1000000
param instanceMemoryMB = 4096
param maximumInstanceCount = 1
param logRetentionDays = 730
param detectSchedule = '0 0/30 * * * *'
param deliverSchedule = '0 0/1 * * * *'
